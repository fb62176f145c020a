"""What a run is made with: checked at construction, and filled in where it was left out."""

import sys

import numpy as np
import pytest

from flwr_resam import Resam, parse_rule
from flwr_resam.aggregators import MDA, Bulyan, CenteredClipping, Mean, Median
from flwr_resam.preaggregators import NNM, Bucketing
from flwr_resam.server.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_malicious_nodes": 8, "min_available_nodes": 15}, ValueError, "n = 15, f = 8"),
        ({"num_malicious_nodes": -1}, ValueError, "at least 0"),
        ({"num_malicious_nodes": 0.5}, TypeError, "whole number"),
        ({"aggregator": "mda"}, TypeError, r'parse_rule\("mda"\)'),
        ({"aggregator": NNM()}, TypeError, "be an aggregator"),
        ({"aggregator": NNM()}, TypeError, r"Found NNM\(\)\. Write NNM\(\) \| MDA\(\)\.$"),
        ({"aggregator": Bucketing}, TypeError, r"Write Bucketing\(\) \| MDA\(\)\.$"),
        ({"aggregator": Median}, TypeError, r"Write Median\(\)\.$"),
        ({"aggregator": CenteredClipping}, TypeError, r"Write CenteredClipping\(radius=\.\.\.\)\.$"),
        ({"aggregator": NNM() | NNM()}, ValueError, "one vector"),
        ({"learning_rate": 0.0}, ValueError, "above 0"),
        ({"learning_rate": float("nan")}, ValueError, "above 0"),
        ({"fraction_train": 2.0}, ValueError, "`fraction_train` must be a number from 0 to 1"),
        ({"fraction_evaluate": float("nan")}, ValueError, "must be a number from 0 to 1"),
        ({"max_skipped_rounds": "3"}, ValueError, "`max_skipped_rounds` must be a whole number"),
        ({"seed": -1}, ValueError, "`seed` must be a whole number, at least 0"),
        ({"weight_decay": -1.0}, ValueError, "at least 0"),
        ({"reproducible": 1}, TypeError, "`reproducible` must be True or False. Found 1"),
        ({"reproducible": True, "device": "cpu"}, ValueError, "False where torch adds up"),
        ({"device": "abacus"}, ValueError, "device that torch can use"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        Resam(**{"num_malicious_nodes": 1, **arguments})



@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`num_malicious_nodes` must be given.* 0 protects against nobody"),
        ({"num_malicious_nodes": "mda"}, r'aggregator=parse_rule\("mda"\)'),
        ({"num_malicious_nodes": Median()}, r"aggregator=Median\(\)"),
        ({"num_malicious_nodes": 1, "weighted_by_key": "num-examples"}, "must be left out"),
    ],
)
def test_what_comes_of_changing_fedavg_into_resam_and_no_more_is_told(arguments, message):
    with pytest.raises(TypeError, match=message):
        Resam(**arguments)



def test_the_legacy_api_is_told_where_start_is():
    with pytest.raises(AttributeError, match=r"call `start` within @app\.main\(\)"):
        Resam(1).initialize_parameters(None)
    assert not hasattr(Resam(1), "anything_else")



def test_a_setting_that_is_assigned_is_checked_as_at_construction():
    strategy = Resam(1, min_available_nodes=9, fraction_evaluate=0.0)
    strategy.num_malicious_nodes = 3
    assert strategy.settings.num_malicious_nodes == 3
    strategy.fraction_train = 0.5
    assert strategy.settings.fraction_train == 0.5
    with pytest.raises(ValueError, match="`seed` must be a whole number"):
        strategy.seed = -1



NO_NUMBER = ["0.1", b"1", np.str_("1"), None, True, np.True_, [1.0], np.ones(2), 10**400]



NO_WHOLE_NUMBER = ["3", None, True, np.True_, 2.5, 3.0, -1]



@pytest.mark.parametrize(
    ("name", "must", "wrong"),
    [
        ("learning_rate", "be a finite number above 0", NO_NUMBER),
        ("weight_decay", "be a finite number, at least 0", NO_NUMBER),
        ("timeout", "be a number of seconds above 0", NO_NUMBER),
        ("fraction_train", "be a number from 0 to 1", NO_NUMBER),
        ("fraction_evaluate", "be a number from 0 to 1", NO_NUMBER),
        ("seed", "be a whole number, at least 0", NO_WHOLE_NUMBER),
        ("checkpoint_every", "be a whole number, at least 0", NO_WHOLE_NUMBER),
        ("max_skipped_rounds", "be a whole number, at least 1", NO_WHOLE_NUMBER),
        ("min_train_nodes", "be a whole number, at least 0", NO_WHOLE_NUMBER),
        ("min_evaluate_nodes", "be a whole number, at least 0", NO_WHOLE_NUMBER),
        ("min_available_nodes", "be a whole number, at least 0", NO_WHOLE_NUMBER),
        ("output_dir", "be a path or None", [5, b"runs", ["runs"]]),
    ],
)
def test_an_argument_of_a_wrong_type_is_named_with_what_it_must_be(name, must, wrong):
    none = {"seed", "min_train_nodes", "min_available_nodes"}  # for which None is a value
    for value in wrong:
        if value is None and name in none:
            continue
        with pytest.raises((ValueError, TypeError)) as caught:
            Resam(**{"num_malicious_nodes": 0, name: value})
        message = str(caught.value)
        assert message.startswith(f"`{name}` must {must}. Found ")
        assert repr(value) in message



def test_numbers_of_numpy_and_whole_ones_for_floats_are_taken():
    strategy = Resam(
        0, learning_rate=np.float32(0.5), weight_decay=np.array(0), timeout=60, seed=np.int64(3),
        max_skipped_rounds=np.int32(4), fraction_train=1, fraction_evaluate=np.float64(0.5),
        min_train_nodes=np.int64(5), min_evaluate_nodes=0, min_available_nodes=np.uint8(6),
    )
    assert (strategy.learning_rate, strategy.weight_decay, strategy.timeout) == (0.5, 0.0, 60.0)
    assert (strategy.seed, strategy.min_train_nodes, strategy.min_available_nodes) == (3, 5, 6)
    assert Resam(0, timeout=float("inf"), min_train_nodes=0).min_train_nodes == 2



def test_it_waits_by_default_for_the_least_nodes_that_the_rule_admits():
    assert Resam(num_malicious_nodes=3).min_available_nodes == 7
    assert Resam(num_malicious_nodes=3, min_available_nodes=9).min_train_nodes == 9


def test_the_defaults_are_those_that_are_documented():
    settings = Settings(num_malicious_nodes=2)
    assert settings == Resam(2).settings
    assert settings == Settings(
        2, MDA(), learning_rate=1.0, weight_decay=0.0, device=None, seed=None,
        max_skipped_rounds=10, timeout=3600.0, patience=10.0, connect_timeout=600.0,
        output_dir=None, checkpoint_every=0, buffers=None, fraction_train=1.0,
        fraction_evaluate=1.0, min_train_nodes=5, min_evaluate_nodes=5, min_available_nodes=5,
    )
    assert Settings(0).min_evaluate_nodes == 2


@pytest.mark.parametrize(
    ("name", "last", "beyond"),
    [
        ("patience", 1.0, 0.99),
        ("fraction_train", 0.0, -0.01),
        ("fraction_train", 1.0, 1.01),
        ("fraction_evaluate", 0.0, -0.01),
        ("fraction_evaluate", 1.0, 1.01),
        ("weight_decay", 0.0, -0.01),
        ("weight_decay", 0.0, float("inf")),
        ("learning_rate", 1e-9, 0.0),
        ("learning_rate", 1e-9, float("inf")),
        ("timeout", 1e-9, 0.0),
        ("connect_timeout", 1e-9, 0.0),
        ("max_skipped_rounds", 1, 0),
        ("min_evaluate_nodes", 0, -1),
        ("seed", 0, -1),
    ],
)
def test_a_range_ends_where_it_says(name, last, beyond):
    given = {"fraction_evaluate": 0.0, "min_available_nodes": 5, name: last}
    assert getattr(Resam(1, **given), name) == last
    with pytest.raises(ValueError, match=f"`{name}` must"):
        Resam(1, **{**given, name: beyond})


def test_there_may_be_no_end_of_waiting():
    for name in ("patience", "timeout", "connect_timeout"):
        assert getattr(Resam(1, **{name: float("inf")}), name) == float("inf")


@pytest.mark.parametrize(
    ("given", "available", "trained"),
    [
        ({}, 7, 7),  # what the rule needs for f = 3
        ({"aggregator": Bulyan()}, 15, 15),
        ({"min_available_nodes": 40}, 40, 40),
        ({"min_train_nodes": 9}, 9, 9),
        ({"min_train_nodes": 9, "min_available_nodes": 40}, 40, 9),
        ({"min_available_nodes": 40, "fraction_train": 0.5}, 40, 20),
        ({"min_available_nodes": 41, "fraction_train": 0.5}, 41, 20),  # as FedAvg rounds
        ({"min_available_nodes": 40, "fraction_train": 0.1}, 40, 7),
        ({"min_available_nodes": 40, "fraction_train": 0.1, "aggregator": Bulyan()}, 40, 15),
        ({"min_available_nodes": 40, "fraction_train": 0.0}, 40, 40),
    ],
)
def test_the_numbers_of_nodes_that_were_left_open_are_those_that_the_rule_needs(
    given, available, trained
):
    settings = Resam(3, **given).settings
    assert (settings.min_available_nodes, settings.min_train_nodes) == (available, trained)


def test_many_faults_of_a_demanding_rule_still_find_their_nodes():
    assert Resam(100, Bulyan()).min_train_nodes == 403


def test_a_rule_that_admits_no_number_of_nodes_is_refused_with_the_least_that_could_be():
    class Impossible(MDA):
        def check(self, n, f):
            raise ValueError(f"never with n = {n}")

    with pytest.raises(ValueError, match="never with n = 7"):
        Resam(3, Impossible())


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 10), ({"min_evaluate_nodes": 12}, 12), ({"fraction_evaluate": 0.0}, 2)],
)
def test_as_many_nodes_evaluate_as_can_be_believed(given, expected):
    assert Settings(3, **given).min_evaluate_nodes == expected


@pytest.mark.parametrize(
    ("rule", "f", "nodes", "least"),
    [
        (MDA(), 2, 5, 3),  # if the two that are missing are faulty, one among three may be
        (MDA(), 2, 7, 5),
        (MDA(), 0, 7, 1),
        (Mean(), 0, 1, 1),
        (Bulyan(), 2, 11, 9),
    ],
)
def test_the_least_quorum_is_the_fewest_nodes_whose_round_is_not_skipped(rule, f, nodes, least):
    assert Settings(f, rule, min_available_nodes=nodes).least_quorum == least


def test_the_rate_of_a_round_is_the_schedules():
    assert Settings(1, learning_rate=0.5).rate(7) == 0.5
    schedule = Settings(1, learning_rate=lambda number: 1.0 - number / 4)
    assert [schedule.rate(number) for number in (1, 4)] == [0.75, 0.0]
    with pytest.raises(ValueError, match="`learning_rate` must be a finite number, at least 0"):
        schedule.rate(5)


def test_an_empty_text_is_what_was_left_out(tmp_path):
    settings = Resam(1, output_dir="", device="").settings
    assert (settings.output_dir, settings.device) == (None, None)
    assert Resam(1, output_dir=str(tmp_path)).output_dir == tmp_path
    assert Resam(1, output_dir=tmp_path, checkpoint_every=np.int64(1)).checkpoint_every == 1


def test_a_device_needs_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="`device` must be None where torch is not installed"):
        Resam(1, device="cpu")


def test_a_strategy_is_shown_as_it_is_made():
    assert repr(Resam(2)) == "Resam(2, parse_rule('mda'))"
    made = Resam(3, parse_rule("nnm | cwtm"), learning_rate=0.5, seed=7)
    assert repr(made) == "Resam(3, parse_rule('nnm | cwtm'), learning_rate=0.5, seed=7)"
    made.patience = 4.0
    again = eval(repr(made), {"Resam": Resam, "parse_rule": parse_rule})
    assert again.settings == made.settings
