"""What a worker process can be asked for: the name of each job, and where its function is.

A function takes parameters, which are what JSON can say, and a payload, and returns a result of the same kinds:
`def job(parameters: dict, payload: list[bytes]) -> tuple[dict, bytes]`. It is imported by workers only.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

JOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "decode": "harmonygw.rendering.transcoding:decode_job",
        "encode": "harmonygw.rendering.transcoding:encode_job",
        "transcode": "harmonygw.rendering.transcoding:transcode_job",
        "render": "harmonygw.rendering.picture:render_job",
        "icon": "harmonygw.rendering.icons:icon_job",
        "report": "harmonygw.rendering.report:report_job",
    }
)
"""The jobs, as "module:function"."""
