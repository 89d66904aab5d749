"""As much of a W&B server as the SDK asks for: it keeps the history lines of each run, and refuses artifacts."""

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine. `runs`: id -> history (lines of JSON), summary, exit code."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def steps(self, run_id: str) -> list[int]:
        return [json.loads(line)["_step"] for line in self.runs[run_id]["history"]]

    def handle_error(self, request, client_address):
        """A connection that the SDK drops is no error here."""

    def query(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """Data of a GraphQL query; None: not known here."""
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "team"}}
        if name == "RunResumeStatus":
            return {"model": project | {"bucket": self.bucket(given["name"])}}
        if name == "UpsertBucket":
            run = self.runs.setdefault(given["name"], {"history": [], "summary": {}, "exit": None})
            bucket = {"id": "b", "name": given["name"], "displayName": "", "config": "{}", "sweepName": None}
            bucket |= {"project": project, "historyLineCount": len(run["history"])}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/file"} for file in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        known = {"ArtifactType": {"project": {"artifact": None}}, "Viewer": {"viewer": {"id": "1", "entity": "team"}}}
        return known.get(name)

    def bucket(self, run_id: str) -> dict[str, Any] | None:
        """What the SDK wants to know of a run before it goes on with it."""
        run = self.runs.get(run_id)
        if run is None:
            return None
        about = {"name": run_id, "displayName": "", "config": "{}", "tags": [], "wandbConfig": '{"t": 1}'}
        about |= {"historyLineCount": len(run["history"]), "logLineCount": 0, "eventsLineCount": 0}
        about |= {"historyTail": json.dumps(run["history"][-1:]), "eventsTail": "[]"}
        return about | {"summaryMetrics": json.dumps(run["summary"])}

    def stream(self, run_id: str, sent: dict[str, Any]) -> None:
        """Lines of history replace what there is from their offset on."""
        run, files = self.runs[run_id], sent.get("files", {})
        if history := files.get("wandb-history.jsonl"):
            run["history"][history["offset"] :] = history["content"]
        if summary := files.get("wandb-summary.json"):
            run["summary"] = json.loads(summary["content"][0])
        run["exit"] = sent.get("exitcode", run["exit"])


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer: dict[str, Any] = {}
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            name = asked.get("operationName") or asked["query"].split("(")[0].split()[-1]
            data = self.server.query(name, asked.get("variables") or {})
            answer = {"data": data} if data else {"data": None, "errors": [{"message": "not known here"}]}
        elif self.path.endswith("/file_stream"):
            text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.server.stream(self.path.split("/")[-2], json.loads(text))
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
