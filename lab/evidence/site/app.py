"""The addresses of the site.

    /                       the runs and matrices: filtered, sorted
    /compare?run=A&run=B    two runs side by side
    /runs/NAME/             a run's files
    /runs/NAME/FILE         one of them; report.html is built when it is out of date

A name is never made into a path: it is looked up among what the store has.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    render_template,
    request,
    send_file,
)
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as Redirect

from lab.errors import LabError
from lab.evidence import report, store
from lab.evidence.comparison import Comparison
from lab.evidence.site import pages
from lab.evidence.site.guard import HOSTS, guard, sandbox
from lab.evidence.site.listing import Listing
from lab.evidence.stored import STATES, Stored, StoredRun, read
from lab.evidence.verdict import WORDS

MATRIX = "matrix.html"
SIGNS = {"violated": "✕", "unknown": "?", "shown": "◆", "holds": "✓"}
_STYLES = {
    "page.css": Path(report.__file__).parent / "static",
    "site.css": Path(__file__).parent / "static",
}
_TEMPLATES = {
    "autoescape": True,
    "undefined": StrictUndefined,
    "trim_blocks": True,
    "lstrip_blocks": True,
}
_TYPES = {".json": "application/json", ".png": "image/png"}

site = Blueprint("site", __name__)


def create_app(root: Path) -> Flask:
    """Give the site over a store of runs."""
    app = Flask(__name__, static_folder=None)
    app.jinja_options = dict(_TEMPLATES)
    app.config |= {"RUNS": root, "TRUSTED_HOSTS": list(HOSTS)}
    app.jinja_env.globals |= {"signs": SIGNS, "WORDS": WORDS, "STATES": STATES}
    app.jinja_env.filters |= {"seconds": _seconds, "size": _size}
    app.register_blueprint(site)
    app.after_request(guard)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(LabError, _failed)
    return app


@site.get("/")
def runs() -> str:
    """The list."""
    root = _root()
    listing = Listing(request.args, store.runs(root))
    return render_template("runs.html.j2", listing=listing, matrices=store.matrices(root))


@site.get("/compare")
def compare() -> str:
    """Two runs, the older one first."""
    names = sorted(set(request.args.getlist("run")))
    if len(names) != 2:
        abort(400, f"Two runs can be compared, not {len(names)}: choose two in the list.")
    both = Comparison(*(_run(_stored(name)) for name in names))
    return render_template("comparison.html.j2", both=both)


@site.get("/runs/<name>/")
def files(name: str) -> str:
    """What a run has kept."""
    stored = _stored(name)
    sizes = {str(f.relative_to(stored.path)): f.stat().st_size for f in stored.files()}
    return render_template("files.html.j2", stored=stored, sizes=sizes)


@site.get("/runs/<name>/<path:file>")
def raw(name: str, file: str) -> Response:
    """A file of a run; its report is made if need be."""
    stored = _stored(name)
    known = {str(path.relative_to(stored.path)): path for path in stored.files()}
    run = _reported(stored, file, known)
    if run is not None:
        return sandbox(send_file(pages.report(run), "text/html", max_age=0))
    if file not in known:
        abort(404, f"{name} has no file {file}.")
    path = known[file].resolve()
    if file == MATRIX:
        return sandbox(send_file(path, "text/html", max_age=0))
    return send_file(path, _TYPES.get(path.suffix, "text/plain"), max_age=0)


@site.get("/style/<name>")
def style(name: str) -> Response:
    """A style sheet."""
    if name not in _STYLES:
        abort(404)
    return send_file(_STYLES[name] / name, "text/css", max_age=0)


def _root() -> Path:
    root: Path = current_app.config["RUNS"]
    return root


def _stored(name: str) -> Stored:
    """Give what lies under exactly this name in the store."""
    root = _root()
    for stored in (*store.runs(root), *store.matrices(root)):
        if stored.name == name:
            return stored
    raise NotFound(f"There is no run {name}.")


def _reported(stored: Stored, file: str, known: Container[str]) -> StoredRun | None:
    """Give the run whose report is asked for: this one, or a matrix' cell."""
    cell, _, page = file.rpartition("/")
    if page != report.PAGE:
        return None
    if not cell:
        return stored if isinstance(stored, StoredRun) else None
    return read(stored.path / cell) if f"{cell}/manifest.json" in known else None


def _run(stored: Stored) -> StoredRun:
    if not isinstance(stored, StoredRun):
        raise NotFound(f"{stored.name} is no run.")
    return stored


def _refused(error: HTTPException) -> tuple[str, int] | Redirect:
    if error.code is None or error.code < 400:  # a redirect
        return error.get_response()
    text = error.description or error.name
    return render_template("error.html.j2", title=error.name, text=text), error.code


def _failed(error: LabError) -> tuple[str, int]:
    page = render_template("error.html.j2", title="That went wrong", text=str(error))
    return page, 500


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.3g} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
