//! `bench` and `latency`: that they measure, not what comes out.

mod shell;

use serde_json::Value;
use shell::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn is_empty(place: &Place) -> bool {
    std::fs::read_dir(place.file("")).unwrap().next().is_none()
}

#[test]
fn bench_measures_and_clears_up() {
    let place = Place::new();
    let report = json(&place.good("slipring bench --dir . --time 30ms --size 100 --json"));
    for name in ["floor_round_trip_ns", "round_trip_ns"] {
        let [low, high] = ["p50", "max"].map(|share| report[name][share].as_u64().unwrap());
        assert!(0 < low && low <= high && report[name]["count"].as_u64().unwrap() >= 1000, "{report}");
    }
    assert!(
        report["stream_ns"].as_f64().unwrap() > 0.0 && report["stream_in_batches_ns"].as_f64().unwrap() > 0.0
    );
    let text = place.good("slipring bench --dir . --time 10ms");
    assert!(text.contains("P99.9") && text.contains("million per second"), "{text}");
    assert!(is_empty(&place));
    assert_eq!(place.bad("slipring bench --size 0").0, 2);
    assert_eq!(place.bad("slipring bench --dir absent").0, 1);
}

#[test]
fn latency_leaves_the_ring_alone() {
    let place = Place::new();
    for how in ["spin", "backoff", "park"] {
        let report =
            json(&place.good(&format!("slipring latency . --rate 5000 --time 100ms --wait {how} --json")));
        assert_eq!(report["latency_ns"]["count"], 500, "{report}");
        assert!(report["latency_ns"]["p50"].as_u64().unwrap() > 0);
    }
    assert!(is_empty(&place));
    place.good("slipring create $R -b 100 -c 64 --durable archive");
    let before = std::fs::read(place.ring()).unwrap();
    let text = place.good("slipring latency $R --rate 1000 --time 50ms");
    assert!(
        text.contains("messages of 100 bytes")
            && text.contains("the reader sleeps")
            && text.contains("p99.9"),
        "{text}"
    );
    assert_eq!(std::fs::read(place.ring()).unwrap(), before);
    assert_eq!(place.bad("slipring latency absent").0, 1);
}

#[test]
fn an_interrupt_ends_both_sides_and_leaves_nothing() {
    let place = Place::new();
    let script = "slipring latency . --time 1h & pid=$!; until ls .slipring-measures-* >/dev/null 2>&1; do :; done; \
                  kill -INT $pid; wait $pid";
    let (code, error) = place.bad(script);
    assert!(code == 1 && error.contains("interrupted"), "{error}");
    assert!(is_empty(&place));
}
