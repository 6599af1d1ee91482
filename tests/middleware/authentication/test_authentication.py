"""What checks credentials is loaded by whoever wants it, and by nobody else."""

import subprocess
import sys


def test_an_embedder_loads_no_library_of_credentials() -> None:
    # Not bcrypt: cryptography, which TLS needs, loads it where it is installed.
    code = "import sys, harmonygw.tap, harmonygw.service\nprint(sorted({'jwt', 'argon2', 'treq'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "[]\n"
