"""Each adapter on the documented shape of its format, and on the odd payloads that its senders are known for."""

import json
from datetime import timedelta
from typing import Any

import pytest

from sensors.adapters import ADAPTERS
from sensors.adapters.found import Adapted, Reason, Request
from sensors.adapters.onem2m import acknowledgement, response_topic
from sensors.source import Source
from tests.unit.sensors.cases import ARRIVAL, CASES, MEASURED, example, read, reasons, values

# Example → the values in it.
VALUES = {
    "zigbee2mqtt": [21.34],
    "tasmota": [21.3],
    "thingsboard": [22.5],
    "thingsboard_list": [22.5, 19.5],
    "thingsboard_gateway": [22.5, 22.25],
    "chirpstack": [20.58],
    "things_stack": [18.75],
    "home_assistant": [21.5],
    "senml": [23.5, 23.25],
    "onem2m_http": [27.36],
    "onem2m_mqtt": [27.36],
    "onem2m_rqp": [27.36],
    "own": [21.4],
    "own_list": [21.4, 21.5],
    "generic": [21.4],
}


def edited(name: str, **changes: Any) -> Any:
    """Return an example with top-level keys changed; `...` removes one."""
    document = json.loads(example(name)) | changes
    return {key: value for key, value in document.items() if value is not ...}


def read_case(name: str, payload: object, **options: Any) -> Adapted:
    adapter, source = CASES[name]
    return read(adapter, payload, source, **options)


@pytest.mark.parametrize("name", CASES)
def test_the_documented_shape_is_read(name: str) -> None:
    adapted = read_case(name, example(name))
    assert values(adapted) == VALUES[name]
    first = adapted.observations[0]
    assert first.sensor == "lake"
    assert first.timed
    assert abs(first.measured_at - MEASURED) <= timedelta(seconds=10)
    assert all(one.received_at == ARRIVAL for one in adapted.observations)
    assert len({one.key for one in adapted.observations}) == len(adapted.observations)


def test_every_adapter_has_an_example_and_an_expectation() -> None:
    assert {adapter for adapter, _ in CASES.values()} == set(ADAPTERS)
    assert set(VALUES) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_second_delivery_has_the_same_keys(name: str) -> None:
    once, again = (read_case(name, example(name), arrival=ARRIVAL + late) for late in (timedelta(), timedelta(hours=3)))
    assert [one.key for one in once.observations] == [one.key for one in again.observations]


@pytest.mark.parametrize("name", CASES)
def test_a_retained_payload_counts_by_its_own_time(name: str) -> None:
    assert values(read_case(name, example(name), retained=True)) == VALUES[name]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b"nan", b'{"temperature": nan}', b"<xml/>"])
def test_what_is_no_json_is_rejected(name: str, payload: bytes) -> None:
    assert reasons(read_case(name, payload)) == [Reason.NOT_JSON]


@pytest.mark.parametrize(
    ("name", "payload"),
    [(name, payload) for name in CASES if name not in ("home_assistant", "generic") for payload in ("text", 5, None)],
)
def test_json_of_another_shape_is_rejected(name: str, payload: object) -> None:
    assert reasons(read_case(name, payload)) == [Reason.WRONG_SHAPE]


# Zigbee2MQTT


@pytest.mark.parametrize(
    "last_seen", ["2026-11-26T01:00:00.000Z", "2026-11-26T10:00:00+09:00", 1_795_654_800_000, 1_795_654_800]
)
def test_zigbee2mqtt_last_seen_comes_in_several_forms(last_seen: object) -> None:
    (one,) = read_case("zigbee2mqtt", edited("zigbee2mqtt", last_seen=last_seen)).observations
    assert (one.measured_at, one.timed) == (MEASURED, True)


def test_zigbee2mqtt_without_last_seen_has_the_arrival_and_is_not_read_from_the_brokers_memory() -> None:
    plain = edited("zigbee2mqtt", last_seen=...)
    (one,) = read_case("zigbee2mqtt", plain).observations
    assert (one.measured_at, one.timed) == (ARRIVAL, False)
    assert reasons(read_case("zigbee2mqtt", plain, retained=True)) == [Reason.RETAINED]


@pytest.mark.parametrize(
    ("temperature", "reason"),
    [
        (..., Reason.MISSING),
        (None, Reason.NULL),
        (True, Reason.NOT_A_NUMBER),
        ("21.4", Reason.NOT_A_NUMBER),
        ("unavailable", Reason.UNAVAILABLE),
        ([21.4], Reason.NOT_A_NUMBER),
        ({"value": 21.4}, Reason.NOT_A_NUMBER),
        (float("nan"), Reason.NOT_FINITE),
        (10**400, Reason.NOT_FINITE),
    ],
)
def test_a_value_that_is_no_number_is_rejected_with_the_reason(temperature: object, reason: Reason) -> None:
    adapted = read_case("zigbee2mqtt", edited("zigbee2mqtt", temperature=temperature))
    assert (values(adapted), reasons(adapted)) == ([], [reason])


def test_the_bridges_availability_is_no_measurement() -> None:
    assert reasons(read("zigbee2mqtt", {"state": "online"})) == [Reason.MISSING]


def test_a_fault_value_is_kept_for_quality_control() -> None:
    assert values(read("zigbee2mqtt", {"temperature": -327.68})) == [-327.68]
    assert values(read("zigbee2mqtt", {"temperature": 0})) == [0.0]


# Tasmota


def test_tasmota_counts_local_time_and_needs_the_zone_for_it() -> None:
    (one,) = read("tasmota", example("tasmota"), Source("lake", field="DS18B20-1", timezone="Asia/Tokyo")).observations
    assert one.measured_at == MEASURED
    (one,) = read("tasmota", example("tasmota"), Source("lake", field="DS18B20-1")).observations
    assert (one.measured_at, one.timed) == (ARRIVAL, False)
    (one,) = read_case("tasmota", edited("tasmota", Time="2026-11-26T03:00:00+02:00")).observations
    assert (one.measured_at, one.timed) == (MEASURED, True)


def test_tasmota_finds_a_probe_by_its_id_whatever_its_number() -> None:
    by_id = Source("lake", field="$[?@.Id=='01131B654321'].Temperature")
    assert values(read("tasmota", example("tasmota"), by_id)) == [4.5]
    assert values(read("tasmota", edited("tasmota", **{"DS18B20-1": ...}), by_id)) == [4.5]


def test_tasmota_never_takes_another_sensors_value() -> None:
    assert reasons(read_case("tasmota", edited("tasmota", **{"DS18B20-1": ...}))) == [Reason.MISSING]
    assert reasons(read("tasmota", example("tasmota"), Source("lake", field="SI7021"))) == [Reason.NULL]
    assert reasons(read("tasmota", example("tasmota"), Source("lake"))) == [Reason.MISSING]
    every = Source("lake", field="$[*].Temperature")
    assert reasons(read("tasmota", example("tasmota"), every)) == [Reason.AMBIGUOUS]


def test_tasmota_names_its_unit() -> None:
    assert values(read_case("tasmota", edited("tasmota", TempUnit="F", **{"DS18B20-1": {"Temperature": 70.7}}))) == [
        21.5
    ]
    assert reasons(read_case("tasmota", edited("tasmota", TempUnit=...))) == [Reason.UNIT_MISSING]


def test_tasmota_answers_a_status_request_in_another_wrapping() -> None:
    assert values(read_case("tasmota", {"StatusSNS": json.loads(example("tasmota"))})) == [21.3]


# ThingsBoard


def test_thingsboard_without_a_time_has_the_arrival() -> None:
    for payload in ({"temperature": 22.5}, [{"temperature": 22.5}], {"values": {"temperature": 22.5}}):
        (one,) = read("thingsboard", payload).observations
        assert (one.value, one.measured_at, one.timed) == (22.5, ARRIVAL, False)


def test_thingsboard_reads_numbers_that_are_written_as_text() -> None:
    assert values(read("thingsboard", {"temperature": " 22.5 "})) == [22.5]


def test_a_buffer_with_a_broken_clock_is_not_spread_over_now() -> None:
    buffer = [{"ts": 10_000 * number, "values": {"temperature": 20 + number}} for number in range(3)]
    assert reasons(read("thingsboard", buffer)) == [Reason.TIME_UNREADABLE] * 3
    (one,) = read("thingsboard", buffer[:1]).observations
    assert (one.measured_at, one.timed) == (ARRIVAL, False)


def test_one_bad_element_of_a_list_does_not_cost_the_others() -> None:
    good = {"ts": 1_795_654_800_000, "values": {"temperature": 22.5}}
    adapted = read("thingsboard", [good, 7, None, {"ts": 1_795_654_800_000, "values": {"temperature": "x"}}])
    assert values(adapted) == [22.5]
    assert reasons(adapted) == [Reason.MISSING, Reason.MISSING, Reason.NOT_A_NUMBER]


def test_thingsboard_gateway_reads_its_own_device_only() -> None:
    hill = Source("hill", unit="°C", device="Hill")
    assert values(read("thingsboard", example("thingsboard_gateway"), hill)) == [17.5]
    absent = Source("sea", unit="°C", device="Sea")
    assert read("thingsboard", example("thingsboard_gateway"), absent) == Adapted()


# LoRaWAN: ChirpStack, The Things Stack


def test_chirpstack_reads_text_from_codecs_and_paths_from_the_top() -> None:
    for field in ("TempC_text", "$.object.TempC_SHT"):
        assert values(read("chirpstack", example("chirpstack"), Source("lake", field=field, unit="°C"))) == [20.58]


def test_chirpstack_without_a_codec_has_no_value() -> None:
    assert reasons(read_case("chirpstack", edited("chirpstack", object=...))) == [Reason.MISSING]


@pytest.mark.parametrize("name", ["chirpstack", "things_stack"])
def test_uplinks_of_other_devices_say_nothing(name: str) -> None:
    field = CASES[name][1].field
    assert read(name, example(name), Source("hill", field, "°C", device="hill")) == Adapted()
    assert values(read(name, example(name), Source("lake", field, "°C", device="LAKE"))) == VALUES[name]


def test_chirpstacks_key_is_the_deduplication_id() -> None:
    first = read_case("chirpstack", example("chirpstack")).observations[0]
    later = read_case("chirpstack", edited("chirpstack", time="2026-11-26T01:00:20Z")).observations[0]
    other = read_case("chirpstack", edited("chirpstack", deduplicationId="another")).observations[0]
    assert first.key == later.key != other.key


def uplink(**changes: Any) -> Any:
    document = json.loads(example("things_stack"))
    document["uplink_message"] = document["uplink_message"] | changes
    document["uplink_message"] = {key: value for key, value in document["uplink_message"].items() if value is not ...}
    return document


def test_the_things_stack_leaves_out_a_counter_of_0_and_that_is_a_counter() -> None:
    zero, absent, next_one = (read_case("things_stack", uplink(f_cnt=count)) for count in (0, ..., 1))
    assert zero.observations[0].key == absent.observations[0].key != next_one.observations[0].key


def test_the_things_stack_leaves_out_a_temperature_of_0_and_that_is_no_temperature() -> None:
    assert reasons(read_case("things_stack", uplink(decoded_payload={"humidity": 60}))) == [Reason.MISSING]
    assert reasons(read_case("things_stack", uplink(decoded_payload=...))) == [Reason.MISSING]
    assert values(read_case("things_stack", uplink(decoded_payload={"temperature": 0}))) == [0.0]


def test_the_same_counter_in_a_new_session_is_a_new_measurement() -> None:
    old, new = (read_case("things_stack", uplink(session_key_id=name)) for name in ("one", "two"))
    assert old.observations[0].key != new.observations[0].key


def test_the_things_stack_sends_more_than_measurements() -> None:
    assert reasons(read_case("things_stack", edited("things_stack", simulated=True))) == [Reason.SIMULATED]
    joined = edited("things_stack", uplink_message=..., join_accept={"session_key_id": "x"})
    assert reasons(read_case("things_stack", joined)) == [Reason.WRONG_SHAPE]


def test_the_things_stacks_normalized_payload_is_read_by_path() -> None:
    path = "$.uplink_message.normalized_payload[0].air.temperature"
    assert values(read("things_stack", example("things_stack"), Source("lake", path, "°C"))) == [18.5]


# State topics and generic


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.4", 21.4),
        (b" -3 \n", -3.0),
        (b"\xef\xbb\xbf21.4", 21.4),
        (b"+.5e1", 5.0),
        (b"unavailable", Reason.UNAVAILABLE),
        (b"Unknown", Reason.UNAVAILABLE),
        (b"None", Reason.UNAVAILABLE),
        (b"", Reason.UNAVAILABLE),
        (b"nan", Reason.NOT_FINITE),
        (b"-inf", Reason.NOT_FINITE),
        (b"1e999", Reason.NOT_FINITE),
        (b"ON", Reason.NOT_A_NUMBER),
        (b"true", Reason.NOT_A_NUMBER),
        (b"21,4", Reason.NOT_A_NUMBER),
        ("21.4 °C".encode(), Reason.NOT_A_NUMBER),
        (b"1_000", Reason.NOT_A_NUMBER),
        (b"\x1e21", Reason.NOT_A_NUMBER),
        (b"21.4\0", Reason.NOT_A_NUMBER),
        ("２１".encode(), Reason.NOT_A_NUMBER),
        (b"0x15", Reason.NOT_A_NUMBER),
        (b"\xff", Reason.NOT_JSON),
    ],
)
def test_a_bare_state_is_a_number_or_rejected(payload: bytes, expected: float | Reason) -> None:
    adapted = read("home_assistant", payload)
    assert (values(adapted) or reasons(adapted)) == [expected]


def test_a_retained_state_has_no_time_and_is_rejected() -> None:
    assert reasons(read("home_assistant", b"21.4", retained=True)) == [Reason.RETAINED]


def test_a_state_without_a_unit_is_not_guessed() -> None:
    assert reasons(read("home_assistant", b"70", Source("lake"))) == [Reason.UNIT_MISSING]
    assert values(read("home_assistant", b"70.7", Source("lake", unit="°F"))) == [21.5]


def test_a_path_that_finds_two_values_finds_none() -> None:
    both = Source("lake", field="$.station.readings[*].value", unit="°C")
    assert reasons(read("generic", example("generic"), both)) == [Reason.AMBIGUOUS]
    assert reasons(read("generic", 21.4, both)) == [Reason.MISSING]


# Our own body


def test_the_bodys_readings_stand_each_for_itself() -> None:
    adapted = read(
        "own",
        [
            {"value": 21.4, "unit": "°C", "measured_at": "2026-11-26T10:00:00+09:00"},
            {"value": 21.4, "unit": "°C"},
            {"value": 21.4, "measured_at": "2026-11-26T10:00:00+09:00"},
            {"value": "21.4", "unit": "°C", "measured_at": "2026-11-26T10:00:00+09:00"},
            {"unit": "°C"},
        ],
        Source("lake"),
    )
    assert values(adapted) == [21.4]
    wrong = [Reason.TIME_UNREADABLE, Reason.UNIT_MISSING, Reason.NOT_A_NUMBER, Reason.MISSING]
    assert reasons(adapted) == wrong


def test_an_empty_list_says_nothing() -> None:
    assert read("own", []) == Adapted()


# SenML


def pack(*records: dict[str, Any], device: str | None = None) -> Adapted:
    return read("senml", list(records), Source("lake", device=device))


def test_senml_adds_the_base_value() -> None:
    assert values(pack({"bv": 20, "u": "Cel", "v": 1.5})) == [21.5]
    assert values(pack({"bv": 20, "bu": "Cel", "n": "a"}, {"n": "b", "v": -1})) == [19.0]


def test_a_senml_record_with_a_base_only_is_no_value() -> None:
    assert pack({"bn": "a", "bv": 20, "bu": "Cel"}) == Adapted()


def test_senml_times_below_2_to_the_28th_are_relative_to_now() -> None:
    live = pack({"bn": "a", "bu": "Cel", "t": -5, "v": 20}, {"v": 21}).observations
    assert [(ARRIVAL - one.measured_at).seconds for one in live] == [5, 0]
    assert not any(one.timed for one in live)
    assert reasons(pack({"u": "Cel", "t": -48 * 3600 - 1, "v": 20})) == [Reason.TOO_OLD]
    assert pack({"u": "Cel", "t": 301, "v": 20}).observations[0].measured_at == ARRIVAL
    based = pack({"bt": 1_795_654_800, "bu": "Cel", "t": -60, "v": 20}).observations
    assert based[0].measured_at == MEASURED - timedelta(seconds=60)
    assert reasons(read("senml", [{"u": "Cel", "v": 20}], retained=True)) == [Reason.RETAINED]


def test_senml_has_its_own_units() -> None:
    assert values(pack({"u": "K", "v": 294.55})) == [21.4]
    for unit in ("C", "F", "°C", "%RH"):
        assert reasons(pack({"u": unit, "v": 20})) == [Reason.UNIT_UNKNOWN]
    assert reasons(pack({"v": 20})) == [Reason.UNIT_MISSING]


def test_senml_with_several_names_needs_to_know_which() -> None:
    assert reasons(read("senml", example("senml"), Source("lake"))) == [Reason.AMBIGUOUS]
    assert pack({"n": "a", "u": "Cel", "v": 20}, device="b") == Adapted()


@pytest.mark.parametrize("record", [{"vs": "20"}, {"vb": True}, {"v": "20"}, {"v": True}])
def test_senml_reads_numbers_only(record: dict[str, Any]) -> None:
    expected = Reason.NOT_A_NUMBER if "v" in record else Reason.MISSING
    assert reasons(pack({"u": "Cel"} | record)) == [expected]


@pytest.mark.parametrize("extra", [{"calib_": 1}, {"bver": 11}, {"bver": "10"}, {"bt": "x"}, {"t": None}, {"n": 5}])
def test_a_senml_pack_that_cannot_be_understood_is_not_read_at_all(extra: dict[str, Any]) -> None:
    assert reasons(pack({"u": "Cel", "v": 20, "bver": 5}, {"u": "Cel", "v": 21} | extra)) == [Reason.WRONG_SHAPE]


# oneM2M


def notification(*, con: object = 27.36, **event: Any) -> dict[str, Any]:
    instance = {"ri": "cin-1", "ct": "20261126T010000", "con": con}
    return {"m2m:sgn": {"sur": "Mobius/park/lake/sub", "nev": {"net": 3, "rep": {"m2m:cin": instance}} | event}}


@pytest.mark.parametrize(
    ("con", "field", "expected"),
    [
        ({"Temperature": 27.36}, "Temperature", 27.36),
        ('{"Temperature": 27.36}', "Temperature", 27.36),
        ('{"a": [{"t": "27.36"}]}', "$.a[0].t", 27.36),
        (27.36, None, 27.36),
        ("27.36", None, 27.36),
        ("unavailable", None, Reason.UNAVAILABLE),
        ("hot", None, Reason.NOT_A_NUMBER),
        ({"Temperature": 27.36}, None, Reason.NOT_A_NUMBER),
        (27.36, "Temperature", Reason.MISSING),
        ({"temperature": 27.36}, "Temperature", Reason.MISSING),
        (None, None, Reason.NULL),
        ("", None, Reason.UNAVAILABLE),
    ],
)
def test_onem2m_content_is_an_object_json_in_text_or_a_number(
    con: object, field: str | None, expected: float | Reason
) -> None:
    adapted = read("onem2m", notification(con=con), Source("lake", field=field, unit="°C"))
    assert (values(adapted) or reasons(adapted)) == [expected]


@pytest.mark.parametrize("net", [1, 2, 4, "4", [3, 4], None])
def test_a_deleted_or_changed_resource_is_no_measurement(net: object) -> None:
    adapted = read("onem2m", notification(net=net))
    assert (values(adapted), reasons(adapted)) == ([], [Reason.WRONG_SHAPE])
    assert adapted.request  # acknowledged even so, or the server drops the subscription


@pytest.mark.parametrize("net", [3, "3", [3]])
def test_servers_write_the_event_type_in_three_ways(net: object) -> None:
    assert values(read("onem2m", notification(net=net))) == [27.36]


@pytest.mark.parametrize("wrap", ["bare", "primitive", "rqp"])
def test_a_verification_request_is_handed_to_the_caller(wrap: str) -> None:
    body: dict[str, Any] = {"m2m:sgn": {"vrq": True, "sur": "Mobius/park/lake/sub", "cr": "Ssignboard"}}
    if wrap != "bare":
        body = {"op": 5, "rqi": "v1", "to": "mqtt://h/S", "fr": "/Mobius2", "pc": body}
    adapted = read("onem2m", {"m2m:rqp": body} if wrap == "rqp" else body)
    assert adapted.request
    assert adapted.request.verification
    assert (adapted.observations, adapted.rejects) == ((), ())


def test_what_an_acknowledgement_needs_is_handed_to_the_caller() -> None:
    requests = {name: read_case(name, example(name)).request for name in CASES if name.startswith("onem2m")}
    assert requests == {
        "onem2m_http": Request(),
        "onem2m_mqtt": Request(id="rqi-1", to="mqtt://broker/Ssignboard", origin="/Mobius2"),
        "onem2m_rqp": Request(
            id="rqi-2", id_key="ri", to="/Mobius4/Ssignboard", origin="/Mobius4", release="3", wrapped=True
        ),
    }
    answers = [json.loads(acknowledgement(request)) for request in requests.values() if request]
    assert answers[0] == {"rsc": 2000}
    assert answers[1] == {"rsc": 2000, "rqi": "rqi-1", "to": "/Mobius2", "fr": "mqtt://broker/Ssignboard"}
    assert answers[2]["m2m:rsp"]["ri"] == "rqi-2"


def test_an_acknowledgement_goes_to_the_response_topic() -> None:
    assert response_topic("/oneM2M/req/Mobius2/S/json") == "/oneM2M/resp/Mobius2/S/json"
    assert response_topic("oneM2M/req/Mobius2/S/json") == "oneM2M/resp/Mobius2/S/json"
    assert response_topic("parks/lake") is None
    assert response_topic("x/oneM2M/req/a/b") is None


def test_onem2m_prefers_the_terminals_time_and_else_counts_ct_as_utc() -> None:
    (one,) = read_case("onem2m_http", example("onem2m_http")).observations
    assert one.measured_at == MEASURED - timedelta(seconds=10)
    for ct in ("20261126T010000", "20261126T010000Z", "20261126T010000,000000"):
        body = notification()
        body["m2m:sgn"]["nev"]["rep"]["m2m:cin"]["ct"] = ct
        (one,) = read("onem2m", body).observations
        assert (one.measured_at, one.timed) == (MEASURED, True)
    broken = notification(con={"t": 20, "at": "1970-01-01 00:00:07"})
    (one,) = read("onem2m", broken, Source("l", "t", "°C", "Asia/Seoul", time_field="at")).observations
    assert (one.measured_at, one.timed) == (MEASURED, True)


@pytest.mark.parametrize(
    ("device", "ours"),
    [("Mobius/park/lake", True), ("/Mobius/park/lake/", True), ("park/hill", False), ("ark/lake", False)],
)
def test_onem2m_container_decides_whose_measurement_it_is(device: str, ours: bool) -> None:
    adapted = read("onem2m", notification(), Source("lake", unit="°C", device=device))
    assert (values(adapted), reasons(adapted)) == ([27.36] if ours else [], [])
    assert adapted.request
