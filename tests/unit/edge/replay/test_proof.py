from __future__ import annotations

from edge.replay import proof


def test_equal_figures_are_counted_and_make_no_difference() -> None:
    report = proof.Report()
    report.compare(proof.LEVELS, 367, {"CJ-10": 10, "CJ-11": 10}, {"CJ-10": 10, "CJ-11": 10})
    assert (report.compared[proof.LEVELS], report.differences) == (2, [])


def test_a_wrong_a_missing_and_a_surplus_figure_are_each_a_difference() -> None:
    report = proof.Report()
    report.compare(proof.LEVELS, 367, {"CJ-10": 10, "CJ-11": 10}, {"CJ-10": 9, "CJ-12": 1})
    assert [(one.key, one.expected, one.found) for one in report.differences] == [
        ("CJ-10", 10, 9),
        ("CJ-11", 10, None),
        ("CJ-12", None, 1),
    ]


def test_a_difference_is_told_as_a_sentence() -> None:
    figures = proof.Difference(
        proof.DAYS, 367, ("2017-01-02",), (31, 300, 312, 123_456, 78), (30, 299, 311, 123_400, 78)
    )
    assert proof.story(figures) == (
        "Sales summary by day: store 367, 2017-01-02: the data says 31 sales, 300 lines, 312 units, 1,234.56 USD, "
        "discounts 0.78 USD, Tillmesh 30 sales, 299 lines, 311 units, 1,234.00 USD, discounts 0.78 USD."
    )
    paid = proof.Difference(proof.TENDERS, 367, ("2017-01-02",), 100, None)
    assert proof.story(paid).endswith("the data says 1.00 USD, Tillmesh nothing.")
    level = proof.Difference(proof.LEVELS, 367, "CJ-10", 10, 9)
    assert proof.story(level) == "Stock on hand by SKU: store 367, CJ-10: the data says 10, Tillmesh 9."
