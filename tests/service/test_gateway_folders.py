"""A reload with parts that have a folder to themselves: who has it, and who waits for it."""

from typing import ClassVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from harmonygw.errors import ConfigurationError
from harmonygw.pipeline import Context
from harmonygw.service import Gateway
from tests.service.conftest import Build, Configure
from tests.service.parts import Held, Telling, web
from tests.service.test_gateway import Asked
from tests.service.test_gateway_reload import done


class Folder(Telling):
    """Has a folder to itself."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.folder = "/folder"


class FolderThatFails(Folder):
    """Cannot open it."""

    def start(self) -> None:
        raise ConfigurationError(("its folder is gone",))


class SlowFolder(Folder):
    """Takes its time to open its folder, when it is told to."""

    starting: ClassVar["list[Deferred[None]]"] = []

    def start(self) -> "Deferred[None] | None":
        super().start()
        if not self.options.get("slow"):
            return None
        self.starting.append(Deferred())
        return self.starting[-1]


class OtherFolder(Folder):
    """Has another folder to itself."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.folder = "/other"


FOLDER = '[services.{0}]\nmodule = "tests.service.test_gateway_folders:{0}"\n'


def test_who_wants_the_folder_of_before_starts_when_that_is_free(
    started: Build, configure: Configure, memory: MemoryReactorClock, diary: list[str], log: list[str]
) -> None:
    service = FOLDER.format("Folder")
    gateway = started(web("Folder"), service, web("held", pipeline="slow", prefix="/slow"))
    asked = Asked(memory, "/slow/studies")
    held = Held.held
    done(gateway.reload(configure(web("Folder", prefix="/other"), service)))
    assert diary == ["slow_archive is asked", "archive is built"]
    held.callback(None)
    assert asked.status == 200
    assert diary[2:] == ["slow_archive stops", "archive stops", "archive starts"]
    asked.channel.connectionLost(Failure(ConnectionDone()))
    done(gateway.stopService())
    assert diary[-1] == "archive stops"


def test_a_folder_that_cannot_be_had_after_all_is_a_line_in_the_log(
    started: Build, configure: Configure, diary: list[str], log: list[str]
) -> None:
    gateway = started(web("Folder"), FOLDER.format("Folder"))
    done(gateway.reload(configure(web("FolderThatFails"), FOLDER.format("FolderThatFails"))))
    sentence = "backends.archive cannot start; it is not used before the next reload"
    assert log[1] == f"critical: {sentence} (ConfigurationError)"
    assert diary[-2:] == ["archive stops", "archive stops"]
    assert gateway.ready


def test_two_parts_that_want_one_folder_are_refused(configure: Configure, memory: MemoryReactorClock) -> None:
    texts = (web("Folder"), web("Folder", pipeline="second", prefix="/second"), FOLDER.format("Folder"))
    with pytest.raises(ConfigurationError, match=r"backends\.second_archive: its folder is that of backends\.archive"):
        Gateway(configure(*texts), memory)


def test_what_has_waited_for_a_folder_does_not_start_for_a_house_that_is_no_more(
    started: Build, configure: Configure, diary: list[str]
) -> None:
    services = FOLDER.format("SlowFolder") + FOLDER.format("OtherFolder")
    second = web("OtherFolder", pipeline="second", prefix="/second")
    gateway = started(web("SlowFolder"), services, second)
    done(gateway.reload(configure(web("SlowFolder") + "options = { slow = true }\n", services, second)))
    assert diary[-1] == "archive starts", "those of before have stopped"
    done(gateway.reload(configure(web())))
    SlowFolder.starting[-1].callback(None)
    assert "second_archive starts" not in diary
    assert sorted(one.name for one in gateway._life._begun.values()) == ["archive"]
