"""What twistd sees of us before it runs us: one line of help, and nothing that installs a reactor."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from twisted.application.service import IServiceMaker
from zope.interface.verify import verifyObject

from harmonygw.tap import Options, makeService
from tests.service import twistd

PLUGIN = twistd.ROOT / "twisted" / "plugins" / "harmonygw_plugin.py"


def test_twistd_lists_it(tmp_path: Path) -> None:
    shown = twistd.run(tmp_path, "--help")
    assert shown.returncode == 0
    (line,) = [line for line in shown.stdout.splitlines() if "harmonygw" in line]
    assert line.split(None, 1) == ["harmonygw", "A DICOMweb gateway in front of the PACS you already have."]


def test_neither_the_plugin_nor_what_it_names_installs_a_reactor(tmp_path: Path) -> None:
    script = (
        "import sys; from twisted.plugin import getPlugins\n"
        "from twisted.application.service import IServiceMaker\n"
        "(found,) = [one for one in getPlugins(IServiceMaker) if one.tapname == 'harmonygw']\n"
        "assert 'harmonygw' not in sys.modules, 'the plugin imports what it names'\n"
        "import harmonygw.tap, harmonygw.service\n"
        "assert found.options is harmonygw.tap.Options\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'klein' or name == 'twisted.internet.reactor'])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, **twistd.options(tmp_path))
    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr


def test_the_plugin_is_one_service_maker_and_its_folder_no_package() -> None:
    spec = spec_from_file_location("harmonygw_plugin", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    plugin = module_from_spec(spec)
    spec.loader.exec_module(plugin)
    verifyObject(IServiceMaker, plugin.harmonygw)
    assert (plugin.harmonygw.options, plugin.harmonygw.makeService) == (Options, makeService)
    assert [path.name for path in PLUGIN.parent.glob("*.py")] == [PLUGIN.name]
