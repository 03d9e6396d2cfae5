"""The list of mutants: each still fits the code, and the tests that it names still exist."""

import ast

import pytest

from tests.conftest import ROOT
from tests.mutants import Mutant, read_mutants

MUTANTS = read_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mutants_old_text_is_found_exactly_once(mutant: Mutant) -> None:
    assert mutant.problem(ROOT) is None
    assert mutant.new != mutant.old


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mutants_tests_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in functions, test


def test_mutants_have_ids_of_their_own() -> None:
    assert len({mutant.id for mutant in MUTANTS}) == len(MUTANTS) >= 20
