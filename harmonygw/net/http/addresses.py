"""A client's address: as it is known, and as it is counted."""
# mypy: allow-untyped-calls

from ipaddress import IPv6Address as Address
from ipaddress import ip_address
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

PREFIX_BITS: Final = 64
"""Of an IPv6 address, what is counted as one client. A subscriber gets a /64 at least (RFC 6177), and has 2^64
addresses in it: a limit for each of them would be none."""


def plain(text: str) -> str:
    """Return an IP address; one of IPv4 as such, which a socket for both calls ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2).

    Raises `ValueError`.
    """
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, Address) else None
    return str(mapped or address)


def plain_peer(peer: IAddress) -> IAddress:
    """Return a connection's peer; with an address of IPv4, when it is one in IPv6's form."""
    if isinstance(peer, IPv6Address) and (host := plain(peer.host)) and ":" not in host:
        return IPv4Address(peer.type, host, peer.port)
    return peer


def counted_as(host: str) -> str:
    """Return what the connections of an address are counted under."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, Address):
        return host
    return f"{Address(int(address) >> (128 - PREFIX_BITS) << (128 - PREFIX_BITS))}/{PREFIX_BITS}"
