"""Run a command with a time limit: python tools/within.py SECONDS COMMAND [ARGUMENT ...].

Exits as the command does, or with 124 after the limit. (macOS and Windows have no `timeout`.)
"""

import subprocess
import sys

seconds, *command = sys.argv[1:]
try:
    status = subprocess.run(command, timeout=float(seconds)).returncode
except subprocess.TimeoutExpired:
    status = 124
raise SystemExit(status)
