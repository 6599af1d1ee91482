"""The top of a site: which resource a path leads to, and what leads nowhere."""

from collections.abc import Iterator

import pytest
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from harmonygw.errors import ConfigurationError
from harmonygw.net.http.tree import PrefixTree, Problem, Text, ToHTTPS
from tests.net.http.asking import Told, ask


def tree_of(*prefixes: str) -> PrefixTree:
    tree = PrefixTree()
    for prefix in prefixes:
        tree.put(prefix, Told(prefix))
    return tree


@pytest.fixture
def log() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: dict[str, object]) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize(
    ("prefixes", "target", "found", "prepath", "postpath"),
    [
        (["/a"], "/a", "/a", ["a"], []),
        (["/a"], "/a/", "/a", ["a"], [""]),
        (["/a"], "/a/b/c", "/a", ["a"], ["b", "c"]),
        (["/a", "/a/b"], "/a/b/c", "/a/b", ["a", "b"], ["c"]),
        (["/a", "/a/b"], "/a/bc", "/a", ["a"], ["bc"]),
        (["/a/b/c"], "/a/b/c/d/e", "/a/b/c", ["a", "b", "c"], ["d", "e"]),
        (["", "/a"], "/b/c", "", [], ["b", "c"]),
        ([""], "/", "", [], [""]),
        (["/a"], "/a/b%2Fc", "/a", ["a"], ["b/c"]),
    ],
)
def test_the_longest_prefix_answers(
    prefixes: list[str], target: str, found: str, prepath: list[str], postpath: list[str]
) -> None:
    told = ask(tree_of(*prefixes), target).document
    assert (told["name"], told["prepath"], told["postpath"]) == (found, prepath, postpath)


@pytest.mark.parametrize(
    "target",
    ["//a", "//a/c", "/a//b", "/A", "/a;x", "/a;x=1/b", "/;x/a", "/%2561/c", "/a%253Bx", "/a/B", "/a/b;/c", "//A//b"],
)
def test_what_a_server_may_take_for_a_longer_prefix_leads_nowhere(target: str) -> None:
    """What is at the root would pass it on: there it is what has a guard of its own here."""
    reply = ask(tree_of("", "/a", "/a/b"), target)
    assert reply.status == 404


@pytest.mark.parametrize(
    ("target", "found"),
    [("/b;x=1", ""), ("//c//a", ""), ("/c/A", ""), ("/a/c;x", "/a"), ("/a/b/B", "/a/b"), ("/Up/x", "/Up")],
)
def test_any_other_path_may_have_such_segments(target: str, found: str) -> None:
    assert ask(tree_of("", "/a", "/a/b", "/Up"), target).document["name"] == found


@pytest.mark.parametrize(
    ("target", "prepath", "postpath"),
    [("/x/y", ["x", "y"], []), ("/x/y/a/b", ["x", "y", "a"], ["b"]), ("/x/y/b", ["x", "y"], ["b"])],
)
def test_a_tree_that_is_mounted_deeper_keeps_what_is_above_it(
    target: str, prepath: list[str], postpath: list[str]
) -> None:
    root, middle = Resource(), Resource()
    root.putChild(b"x", middle)
    middle.putChild(b"y", tree_of("", "/a"))
    told = ask(root, target).document
    assert (told["prepath"], told["postpath"]) == (prepath, postpath)


def test_a_prefix_is_given_once() -> None:
    tree = tree_of("/a")
    with pytest.raises(ConfigurationError, match='path prefix "/a" is taken'):
        tree.put("/a", Told())


@pytest.mark.parametrize("target", ["/", "/b", "/a%2Fb", "//a"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_nothing_is_a_problem_document_with_an_identifier_that_the_log_has(
    target: str, method: str, log: list[str]
) -> None:
    answered = ask(tree_of("/a"), target, method=method)
    assert (answered.status, answered.header["content-type"]) == (404, "application/problem+json")
    identifier = answered.document["correlation_id"]
    assert log == [f"404 for {method} {target} from 192.0.2.1 ({identifier})"]


def test_a_mounted_tree_without_a_root_has_nothing_at_its_own_place() -> None:
    root = Resource()
    root.putChild(b"x", tree_of("/a"))
    assert ask(root, "/x").document["detail"] == "There is nothing at this path."


def test_a_problem_has_no_body_for_head() -> None:
    answered = ask(Problem(404, "why"), "/", method="HEAD")
    assert (answered.status, answered.body) == (404, b"")


def test_text_answers_get_and_head_with_what_is_true_just_now() -> None:
    answers = [(200, "text/plain", b"yes"), (503, "text/plain", b"no")]
    text = Text(lambda: answers.pop(0))
    first = ask(text, "/")
    assert (first.status, first.header["content-type"], first.body) == (200, "text/plain", b"yes")
    assert first.header["cache-control"] == "no-store"
    second = ask(text, "/", method="HEAD")
    assert (second.status, second.body) == (503, b"")


def test_text_takes_no_other_method() -> None:
    answered = ask(Text(lambda: (200, "text/plain", b"yes")), "/", method="POST")
    assert (answered.status, answered.header["allow"]) == (405, "GET, HEAD")
    assert answered.header["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["h", "h:8080", "h:"])
def test_what_came_without_tls_is_sent_to_https(host: str) -> None:
    answered = ask(ToHTTPS(Told()), "/dicom/studies?PatientID=%41", f"Host: {host}", method="POST")
    assert (answered.status, answered.body) == (301, b"")
    assert answered.header["location"] == f"https://{host.removesuffix(':8080')}/dicom/studies?PatientID=%41"


def test_an_address_of_ipv6_is_redirected_too() -> None:
    assert ask(ToHTTPS(Told()), "/", "Host: [::1]:80").header["location"] == "https://[::1]/"
    assert ask(ToHTTPS(Told()), "/", "Host: [::1]").header["location"] == "https://[::1]/"


def test_without_a_host_there_is_nowhere_to_go_and_no_address_of_ours_is_told() -> None:
    answered = ask(ToHTTPS(Told()), "/", "Host: <x>", plain=True)
    assert answered.status == 400
    assert "location" not in answered.header
