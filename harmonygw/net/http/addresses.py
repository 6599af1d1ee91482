"""A client's address: as it is known, and as it is counted."""
# mypy: allow-untyped-calls

from ipaddress import IPv6Address as Address
from ipaddress import ip_address
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

PREFIX_BITS: Final = 64
"""Of an IPv6 address, what one subscriber has at least (RFC 6177): 2^64 addresses, so that a limit for each would be
none. It is also what all workstations of a ward may share, so that one limit for all would be too low."""


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


def network_of(host: str) -> str:
    """Return the /64 that an address of IPv6 is in; "" for any other."""
    if ":" not in host:
        return ""
    try:
        address = Address(host)
    except ValueError:
        return ""
    return f"{Address(int(address) >> (128 - PREFIX_BITS) << (128 - PREFIX_BITS))}/{PREFIX_BITS}"
