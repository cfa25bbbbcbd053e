"""`make logs`: what the functions wrote to CloudWatch Logs in the engine, oldest first."""

import argparse
import sys
import time
from dataclasses import dataclass, field

from botocore.exceptions import ClientError
from mypy_boto3_logs import CloudWatchLogsClient
from mypy_boto3_logs.type_defs import FilteredLogEventTypeDef

from local import engine, stack
from local.console import console

# What Lambda itself writes around every invocation.
_PLATFORM = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")


@dataclass
class _FunctionLog:
    """One function's log, read on from where it was left."""

    function: str
    group: str
    since: int = 0
    seen: set[tuple[str, int, str]] = field(default_factory=set)

    def read(self, logs: CloudWatchLogsClient) -> list[tuple[int, str, str]]:
        """What is new: (time in milliseconds, function, line)."""
        new = []
        while events := self._page(logs):
            new += [(event["timestamp"], self.function, event["message"].rstrip()) for event in events]
        return [line for line in new if line[2] and not line[2].startswith(_PLATFORM)]

    def _page(self, logs: CloudWatchLogsClient) -> list[FilteredLogEventTypeDef]:
        # The engine gives the first 10,000 events of a time range and no token for more.
        try:
            events = logs.filter_log_events(logGroupName=self.group, startTime=self.since)["events"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []  # it has not run yet
            raise
        keys = [(event["logStreamName"], event["timestamp"], event["message"]) for event in events]
        new = [event for event, key in zip(events, keys, strict=True) if key not in self.seen]
        if new:
            self.since = new[-1]["timestamp"]
            self.seen = {key for key in keys if key[1] == self.since}
        return new


def main() -> int:
    """Print the functions' logs."""
    parser = argparse.ArgumentParser(prog="make logs")
    parser.add_argument("--follow", action="store_true", help="keep on until Ctrl-C")
    parser.add_argument("--function", default="", help="only functions whose name contains this")
    parser.add_argument("--lines", type=int, default=200, help="the newest so many (default: 200)")
    arguments = parser.parse_args()
    running = engine.find()
    if running is None:
        console.print("No engine runs here: `make run` starts it.")
        return 1
    logs = stack.session(running).client("logs", endpoint_url=running.url)
    outputs = stack.describe(running)
    functions = [key.removesuffix("FunctionName") for key in sorted(outputs) if key.endswith("FunctionName")]
    sources = [
        _FunctionLog(function, outputs[f"{function}LogGroupName"])
        for function in functions
        if arguments.function.lower() in function.lower()
    ]
    width = max((len(source.function) for source in sources), default=0)
    newest = arguments.lines
    try:
        while True:
            lines = sorted(line for source in sources for line in source.read(logs))
            for when, function, text in lines[-newest:]:
                clock = time.strftime("%H:%M:%S", time.localtime(when / 1000))
                print(f"{clock}.{when % 1000:03} {function:{width}} {text}", flush=True)
            if not arguments.follow:
                return 0
            newest = 10_000
            time.sleep(0.5)
    except (KeyboardInterrupt, BrokenPipeError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
