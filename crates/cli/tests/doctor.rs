//! `doctor`, on this system and on planted ones.

mod shell;

use shell::Place;
use std::path::Path;

fn plant(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn every_finding_has_a_verdict_and_what_is_not_ok_an_advice() {
    let place = Place::new();
    let text = place.good("slipring doctor . --json");
    let findings: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = findings.as_array().unwrap();
    assert!(findings.len() >= 12, "{text}");
    for finding in findings {
        let is_ok = finding["verdict"] == "ok";
        assert_eq!(is_ok, finding["advice"].is_null(), "{finding}");
        assert!(!finding["found"].as_str().unwrap().is_empty(), "{finding}");
    }
    assert_eq!(
        place.good("slipring doctor .").lines().filter(|line| !line.starts_with(' ')).count(),
        findings.len()
    );
}

#[test]
fn what_is_planted_is_found() {
    let place = Place::new();
    let root = place.file("root");
    let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let huge = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let (good, bad) = (root.join("good"), root.join("bad"));
    plant(
        &good,
        &[
            ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
            ("proc/swaps", "Filename Type Size Used Priority\n"),
            (clock, "tsc\n"),
            (governor, "performance\n"),
            (huge, "always within_size [advise] never deny force\n"),
        ],
    );
    plant(
        &bad,
        &[
            ("proc/sys/kernel/osrelease", "2.6.32\n"),
            ("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"),
            (clock, "hpet\n"),
            (governor, "powersave\n"),
            (huge, "always within_size advise [never] deny force\n"),
        ],
    );
    let verdicts = |root: &Path| {
        let output = place.shell(&format!("slipring doctor . --json --root {}", root.display()));
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |what: &str| {
            let found = all.as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap();
            found["verdict"].as_str().unwrap().to_owned()
        };
        let whats = ["kernel", "swap", "clock", "governor", "huge pages"];
        (whats.map(of).join(" "), output.status.code().unwrap())
    };
    assert_eq!(verdicts(&good), ("ok ok ok ok ok".to_owned(), 0));
    assert_eq!(verdicts(&bad), ("problem advice advice advice advice".to_owned(), 1));
}

#[test]
fn huge_pages_need_no_administrator() {
    let place = Place::new();
    let huge = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
    for (kernel, mode, verdict) in [
        ("6.1.0", "never", "ok"),
        ("5.15.0", "never", "advice"),
        ("6.1.0", "deny", "advice"),
        ("6.1.0", "advise", "ok"),
    ] {
        let root = place.file(&format!("{kernel}-{mode}"));
        plant(&root, &[("proc/sys/kernel/osrelease", kernel), (huge, &format!("always [{mode}] force\n"))]);
        let output = place.shell(&format!("slipring doctor . --json --root {}", root.display()));
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = all.as_array().unwrap().iter().find(|finding| finding["what"] == "huge pages").unwrap();
        assert_eq!(found["verdict"], verdict, "{found}");
        assert!(!found.to_string().contains("/sys/"), "no way out for root alone: {found}");
    }
}

#[test]
fn a_ring_that_is_not_sound_is_a_problem() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && slipring doctor . | grep -q 'all sound'");
    // One byte of the header.
    place.good("printf 'x' | dd of=$R bs=1 seek=100 conv=notrunc 2>/dev/null");
    let (code, error) = place.bad("slipring doctor .");
    assert!(code == 1 && error.contains("1 of"), "{error}");
    assert_eq!(place.bad("slipring doctor absent").0, 1);
}
