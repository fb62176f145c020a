"""The rounds of a run: what is asked when, who gets the replies how, and how long one waits."""

from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import MetricRecord

from flwr_resam import Resam
from flwr_resam.aggregators import Mean
from flwr_resam.server.intake import Intake
from flwr_resam.server.loop import RunState
from flwr_resam.server.settings import Settings
from tests.support import content, record

MODEL = record(w=np.zeros(2))


def nodes(federation, n=5):
    return federation(lambda message, i: content(record(w=np.ones(2)), key="momentum"), n)


def quiet(kind=Resam, **changes):
    given = {"num_malicious_nodes": 1, "min_available_nodes": 5, "fraction_evaluate": 0.0}
    return kind(**{**given, **changes})


def test_a_method_of_the_users_own_may_go_through_the_replies_twice(federation):
    counts = []

    class Twice(Resam):
        def aggregate_train(self, server_round, replies):
            counts.extend([len(list(replies)), len(list(replies))])
            return super().aggregate_train(server_round, replies)

    result = quiet(Twice).start(nodes(federation), MODEL, num_rounds=1)
    assert counts == [5, 5]
    assert result.train_metrics_clientapp[1]["n-valid"] == 5


def test_resams_own_methods_take_the_replies_as_they_come(federation, monkeypatch):
    taken = []
    own = Intake.take_all

    def watched(self, replies, after_each):
        taken.append(iter(replies) is replies)
        return own(self, replies, after_each)

    monkeypatch.setattr(Intake, "take_all", watched)
    quiet().start(nodes(federation), MODEL, num_rounds=1)
    assert taken == [True]


def test_the_server_evaluates_the_start_and_each_round_and_no_start_twice(federation, tmp_path):
    def start(num_rounds, resume):
        seen = []

        def evaluate(number, arrays):
            seen.append((number, float(arrays["w"].numpy()[0])))
            return MetricRecord({"number": number}) if number % 2 else None

        strategy = quiet(output_dir=tmp_path, checkpoint_every=1)
        result = strategy.start(
            nodes(federation), MODEL, num_rounds, resume=resume, evaluate_fn=evaluate
        )
        return seen, dict(result.evaluate_metrics_serverapp)

    assert start(2, False) == ([(0, 0.0), (1, -1.0), (2, -2.0)], {1: {"number": 1}})
    assert start(3, True) == ([(3, -3.0)], {3: {"number": 3}})


def test_a_resumed_run_that_has_nothing_to_do_says_so(federation, tmp_path, caplog):
    caplog.set_level("INFO", logger="flwr")
    for num_rounds, resume in ((3, False), (2, True)):
        caplog.clear()
        strategy = quiet(output_dir=tmp_path, checkpoint_every=1)
        result = strategy.start(nodes(federation), MODEL, num_rounds, resume=resume)
        np.testing.assert_array_equal(result.arrays["w"].numpy(), [-3.0, -3.0])
    assert "0 round(s) in " in caplog.text


def test_a_model_of_another_form_gets_a_layout_of_its_own():
    run, settings = RunState.of(Settings(0)), Settings(0)
    run.sent(MODEL, [], settings)
    first = run.layout
    run.sent(record(w=np.ones(2)), [], settings)
    assert run.layout is first
    run.sent(record(w=np.ones(3)), [], settings)
    assert run.layout.size == 3


@pytest.mark.parametrize(
    ("spent", "patience", "seconds"),
    [(0.5, 10.0, 10.0), (1.0, 10.0, 10.0), (3.0, 10.0, 30.0), (3.0, 1.0, 10.0), (40.0, 1.5, 60.0)],
)
def test_the_rest_is_waited_for_some_times_as_long_as_it_took_and_ten_seconds_at_least(
    spent, patience, seconds
):
    run = RunState.of(Settings(1))
    limits = []
    run.deadline = SimpleNamespace(spent=spent, within=limits.append)
    settings = Settings(1, Mean(), patience=patience, min_available_nodes=5)
    run.wait_less(settings.aggregator, settings, asked=5, valid=4, malformed=0)
    assert limits == [seconds]


def test_nobody_is_hurried_before_the_rows_bear_all_faults():
    """Of five nodes two may be faulty: four rows bear one."""
    run, settings = RunState.of(Settings(2)), Settings(2, min_available_nodes=5)
    limits = []
    run.deadline = SimpleNamespace(spent=1.0, within=limits.append)
    run.wait_less(settings.aggregator, settings, asked=5, valid=4, malformed=0)
    assert limits == []
    run.wait_less(settings.aggregator, settings, asked=5, valid=5, malformed=0)
    assert limits == [10.0]


def test_the_timeout_of_a_run_is_what_start_is_given_or_the_strategys():
    settings = Settings(1, timeout=7.0)
    assert (RunState.of(settings).timeout, RunState.of(settings, 3.0).timeout) == (7.0, 3.0)
    assert RunState.of(settings).training != RunState.of(settings).training
