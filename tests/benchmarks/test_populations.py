"""The tables of members in one program: seconds of a member are those of compiling and stepping, shared."""

from benchmarks import populations

STEP = {"table": "step", "case": "mlp", "batch": 64, "flops": 4e7, "ms_least": 0.8, "ms_most": 2.0, "rounds": 7}


def test_tables():
    records = [
        {**STEP, "members": 1, "ms": 1.5, "compile_s": 4.0},
        {**STEP, "members": 4, "ms": 2.0, "compile_s": 6.0},
        {
            "table": "sweep", "mode": "vmap", "words": ["steps=500", "seed=1"], "seconds": 61.2,
            "best": "weight=3", "scores": {"weight=1": 3.25, "weight=3": 1.5},
        },
    ]  # fmt: skip
    tables = populations.tables(records)
    # A step of a member: 2 / 4 ms together, 1.5 ms alone. 1000 steps: (6 + 2) / 4 s together, 4 + 1.5 s alone.
    row = "| mlp | 64 | 0.04 | 4 | 0.5 [0.2, 0.5] | 1.5 | 3.00 | 2.0 | 5.5 |"
    assert tables["populations"].splitlines()[2:] == [row]
    assert tables["population_sweeps"].splitlines()[2:] == [
        "| steps=500 seed=1 | vmap | 61 | weight=3 | 1: 3.25, 3: 1.5 |"
    ]


def test_the_page_has_a_place_for_each_table():
    page = populations.PAGE.read_text()
    assert all(f"<!-- benchmark:{name} -->" in page for name in populations.tables([]))
