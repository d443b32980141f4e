"""A plugin whose import starts a thread and a process, and sets a variable."""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
import time

NXC_API = 1

threading.Thread(target=time.sleep, args=(60,), daemon=True, name="conductor").start()
_child = subprocess.Popen(("sleep", "60"))
atexit.register(_child.kill)
os.environ["FAULTY_LIBRARY_SEEN"] = "yes"
