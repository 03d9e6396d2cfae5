"""A stand-in for vLLM's process, run as a script: its options make it answer chat completions, have children, or die.

Its process ids go to a file once all children run. Everything ends by itself after two minutes.
"""

import argparse
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LIFE = 120  # seconds
CHILD = f"""
import signal, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep({LIFE})
"""


def main() -> None:
    """Start the children, then serve, sleep or end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--pids", type=Path)
    parser.add_argument("--child", choices=("polite", "stubborn"), help="a child that obeys or ignores SIGTERM")
    parser.add_argument("--session", action="store_true", help="the child leaves our process group")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--refuse", type=int, default=0, help="answer so many chats with 503 first")
    parser.add_argument("--silent", action="store_true", help="never listen")
    parser.add_argument("--hang", action="store_true", help="take chats and never answer; /health is fine")
    parser.add_argument("--exit", type=int, help="print and end with this code")
    options = parser.parse_args()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = [threading.main_thread().native_id]
    if options.child:
        command = [sys.executable, "-c", CHILD, options.child]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=options.session)
        assert child.stdout
        child.stdout.readline()
        pids.append(child.pid)
    draft = options.pids.with_suffix(".draft")
    draft.write_text(" ".join(map(str, pids)))
    draft.rename(options.pids)
    if options.exit is not None:
        for number in range(40):
            print(f"line {number}")
        sys.stdout.buffer.write(b"\xff out of memory\n")
        sys.stdout.flush()
        sys.exit(options.exit)
    if options.silent:
        time.sleep(LIFE)
    serve(options.port, options.refuse, hang=options.hang)


def serve(port: int, refuse: int, *, hang: bool) -> None:
    """Answer chats, and print each one."""
    left = refuse

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, b"")

        def do_POST(self) -> None:
            nonlocal left
            body = self.rfile.read(int(self.headers["Content-Length"]))
            print(self.path, body.decode(), flush=True)
            if hang:
                time.sleep(LIFE)
            left -= 1
            self.answer(503 if left >= 0 else 200, b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Timer(LIFE, server.shutdown).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
