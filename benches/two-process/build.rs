//! Notes which compiler built this, and which versions of the peers.

use std::process::Command;
use std::{env, fs};

const PEERS: [&str; 8] =
    ["slipring", "ringfire", "iceoryx2", "rtrb", "disruptor", "crossbeam-channel", "shaq", "rusteron-client"];

fn main() {
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=COMPILER={}", version.as_deref().unwrap_or("unknown"));

    let lock = "../../Cargo.lock";
    println!("cargo::rerun-if-changed={lock}");
    let packages = fs::read_to_string(lock).unwrap_or_default();
    let version_of = |name: &str| {
        let (_, rest) = packages.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split_once('"')?.0))
    };
    let versions: Vec<String> = PEERS.into_iter().filter_map(version_of).collect();
    println!("cargo::rustc-env=PEERS={}", versions.join(", "));
}
