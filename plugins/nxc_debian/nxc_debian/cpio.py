"""The core's writer of cpio archives, which flavours use, too."""

from nxc_core.cpio import (
    ALIGNMENT as ALIGNMENT,
    Member as Member,
    folder as folder,
    write_archive as write_archive,
)
