"""The code behind each stage, as a hash beside the stage's format: so that nobody forgets to raise the format.

Usage: python -m tests.stage_formats
Out: tests/stage_formats.json. Run it after you changed a stage's code, and after you decided whether its FORMAT must be
raised: it must if the same settings and inputs now give another artefact. Docstrings, comments, types and the texts of
errors do not count as code.
"""

import ast
import hashlib
import json
from pathlib import Path

from data import build
from evaluation import report, verdict
from merge import stages as merge_stages
from tests.rooms import ROOT, imports, modules
from training import stages as training_stages

PAGE = ROOT / "evaluation/page.html.j2"  # of the report
RECORD = ROOT / "tests/stage_formats.json"
# Stage → its format, and the modules that make the artefact.
STAGES: dict[str, tuple[int, tuple[str, ...]]] = {
    "data": (build.FORMAT, ("data.build",)),
    "base": (training_stages.BASE_FORMAT, ("training.import_base", "training.chat_template")),
    "adapter": (training_stages.ADAPTER_FORMAT, ("training.sft",)),
    "dpo": (training_stages.DPO_FORMAT, ("training.dpo",)),
    "merged": (merge_stages.MERGED_FORMAT, ("merge.fold", "merge.adapter", "merge.proofs", "merge.stages")),
    "awq": (merge_stages.AWQ_FORMAT, ("merge.awq", "merge.proofs", "merge.stages")),
    "verdict": (verdict.FORMAT, ("evaluation.verdict",)),
    "report": (report.FORMAT, ("evaluation.report",)),
}
# Followed from there; pipeline runs stages and makes none of their content.
ROOMS = {"core", "data", "training", "merge", "evaluation"}
# A stage's own module does not pull in the stages before it: their artefacts are inputs, and have ids.
ENDS = {"training.stages", "merge.stages", "data.build"}


def formats() -> dict[str, dict[str, int | str]]:
    """Return every stage's format and the hash of its code."""
    known = {module.name: module for module in modules(ROOT, ROOMS)}

    def behind(names: tuple[str, ...]) -> set[str]:
        reached: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name in known and name not in reached:
                reached.add(name)
                for imported in imports(known[name]):
                    module = imported if imported in known else imported.rpartition(".")[0]
                    left += [] if module in ENDS else [module]
        return reached

    found: dict[str, dict[str, int | str]] = {}
    for stage, (number, names) in STAGES.items():
        code = PAGE.read_text(encoding="utf-8") if stage == "report" else ""
        code += "".join(f"{name}\n{_code(known[name].path)}\n" for name in sorted(behind(names)))
        found[stage] = {"format": number, "code": hashlib.sha256(code.encode()).hexdigest()[:16]}
    return found


class _Bare(ast.NodeTransformer):
    """Drops what does not change an artefact: docstrings, annotations, the arguments of raised errors."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.copy_location(ast.Raise(), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _code(path: Path) -> str:
    return ast.dump(_Bare().visit(ast.parse(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    RECORD.write_text(json.dumps(formats(), indent=1) + "\n", encoding="utf-8")
    print(f"{RECORD.relative_to(ROOT)} written")
