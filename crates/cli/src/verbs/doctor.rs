//! `doctor`: the settings of this system that matter to rings, and the changes to make.

use crate::exit::{Failure, Outcome};
use crate::facts::{Facts, leftover_lock_files, rings_in};
use crate::output;
use crate::verbs::{check, stat};
use serde_json::{Value, json};
use slipring::{AtPath, CreateError, Ring, Storage};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Looks at the system and at the rings of a directory, and lists the changes to make
///
/// Changes nothing. Ends with exit code 1 if something is wrong, not if it could merely be better.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring doctor
  slipring doctor /var/lib/rings --json | jq '.[] | select(.verdict != \"ok\")'")]
pub(crate) struct Doctor {
    /// Where the rings are, or will be
    #[arg(default_value = "/dev/shm")]
    dir: PathBuf,
    /// An array of objects
    #[arg(long)]
    json: bool,
    /// Reads /proc and /sys below this directory
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Works, and could be better.
    Advice,
    /// Does not work, or not reliably.
    Problem,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Advice => "advice",
            Verdict::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    /// Why it matters, and the way out.
    advice: String,
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Ok, found: found.into(), advice: String::new() }
}

fn advice(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Advice, found: found.into(), advice: advice.into() }
}

fn problem(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Problem, found: found.into(), advice: advice.into() }
}

pub(crate) fn run(args: &Doctor) -> Outcome {
    let system = System { root: &args.root };
    let storage = Storage::of(&args.dir);
    let findings = [
        system.kernel(),
        membarrier(),
        filesystem(&args.dir, &storage)?,
        space(&args.dir, storage.as_ref().ok())?,
        rings(&args.dir)?,
        memory_limit(storage.as_ref().ok()),
        system.swap(),
        system.huge_pages(),
        memory_lock(),
        descriptors(),
        cores(),
        system.governor(),
        system.clock(),
    ];
    if args.json {
        output::print_json(&findings.iter().map(json_of).collect())?;
    } else {
        output::print(&text(&findings))?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count() {
        0 => Ok(()),
        n => Err(Failure::error(format!("{n} of {} things are wrong", findings.len()))),
    }
}

fn json_of(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "verdict": finding.verdict.name(),
        "found": finding.found,
        "advice": Some(&finding.advice).filter(|advice| !advice.is_empty()),
    })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, verdict, found, advice } in findings {
        let _ = writeln!(text, "{:<8}{what:<14}{found}", verdict.name());
        for line in advice.lines() {
            let _ = writeln!(text, "{:22}{line}", "");
        }
    }
    text
}

/// The files in which the kernel tells of itself.
struct System<'a> {
    root: &'a Path,
}

impl System<'_> {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The word in brackets, where the kernel lists its choices.
    fn chosen(&self, path: &str) -> Option<String> {
        let text = self.read(path)?;
        let word = text.split_whitespace().find(|word| word.starts_with('['))?;
        Some(word.trim_matches(['[', ']']).to_owned())
    }

    fn kernel(&self) -> Finding {
        const WHAT: &str = "kernel";
        let Some(release) = self.read("proc/sys/kernel/osrelease") else {
            return advice(
                WHAT,
                "not to be read",
                "mount /proc: without it this command cannot see the limits of this machine",
            );
        };
        let version = self.version();
        if version < (3, 15) {
            return problem(
                WHAT,
                release,
                "too old: file locks that die with their process came with Linux 3.15",
            );
        }
        if version < (5, 16) {
            return advice(
                WHAT,
                release,
                "a selector over many rings looks at them in turn: Linux 5.16 lets it sleep on all of them",
            );
        }
        ok(WHAT, release)
    }

    /// The kernel's version; 0.0 if it is not told.
    fn version(&self) -> (u32, u32) {
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn swap(&self) -> Finding {
        const WHAT: &str = "swap";
        let areas = self.read("proc/swaps").map_or(0, |text| text.lines().count().saturating_sub(1));
        match areas {
            0 => ok(WHAT, "none"),
            n => advice(
                WHAT,
                format!("{n} areas"),
                "a ring in /dev/shm that rests may be swapped out, and the next message waits for the disk:\n\
                 sysctl vm.swappiness=1, or swapoff -a",
            ),
        }
    }

    fn huge_pages(&self) -> Finding {
        const WHAT: &str = "huge pages";
        let Some(mode) = self.chosen("sys/kernel/mm/transparent_hugepage/shmem_enabled") else {
            return ok(WHAT, "this kernel has none in /dev/shm");
        };
        let found = format!("in /dev/shm {mode}");
        match mode.as_str() {
            "deny" => advice(
                WHAT,
                found,
                "large rings would take fewer page faults and address translations with them;\n\
                 the setting forbids them: any other one will do for `slipring create --huge-pages`",
            ),
            "never" if self.version() < (6, 1) => advice(
                WHAT,
                found,
                "large rings take fewer page faults and address translations with them: at this setting \n\
                 they need Linux 6.1, with `advise` any kernel gives them",
            ),
            "never" => ok(WHAT, format!("{found}; a ring gets them at its creation, with --huge-pages")),
            _ => ok(WHAT, found),
        }
    }

    fn governor(&self) -> Finding {
        const WHAT: &str = "governor";
        match self.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").as_deref() {
            None => ok(WHAT, "none to be read, as in most virtual machines"),
            Some("performance") => ok(WHAT, "performance"),
            Some(other) => advice(
                WHAT,
                other,
                "cores slow down between messages: cpupower frequency-set --governor performance",
            ),
        }
    }

    fn clock(&self) -> Finding {
        const WHAT: &str = "clock";
        match self.read("sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref() {
            Some(slow @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies")) => advice(
                WHAT,
                slow,
                "reading it is a system call, and every wait with a timeout reads it:\n\
                 see whether dmesg says why tsc was given up",
            ),
            Some(source) => ok(WHAT, source),
            None => ok(WHAT, "not to be read"),
        }
    }
}

fn membarrier() -> Finding {
    const WHAT: &str = "membarrier";
    let wanted = rustix::thread::MembarrierQuery::GLOBAL_EXPEDITED;
    if rustix::thread::membarrier_query().contains(wanted) {
        ok(WHAT, "there: a party that does not sleep pays nothing for the sleepers")
    } else {
        advice(
            WHAT,
            "not there",
            "each message costs a fence, and a sleeper looks for itself every millisecond:\n\
             a seccomp filter may forbid it, or the kernel is older than 4.16",
        )
    }
}

fn filesystem(dir: &Path, storage: &Result<Storage, AtPath<CreateError>>) -> Result<Finding, Failure> {
    const WHAT: &str = "filesystem";
    let shown = dir.display();
    let storage = match storage {
        Ok(storage) => storage,
        Err(AtPath {
            error: error @ (CreateError::RemoteFilesystem { .. } | CreateError::UnsuitableFilesystem { .. }),
            ..
        }) => return Ok(problem(WHAT, format!("{shown} {error}"), "no ring can be made there")),
        Err(error) => return Err(Failure::error(error.to_string())),
    };
    let name = &storage.filesystem;
    let found = format!("{shown} lies on {name}");
    Ok(match storage {
        Storage { is_overlay: true, .. } => advice(
            WHAT,
            found,
            "a file there may have a second path, in the directory below: both paths share the data, and not the locks,\n\
             so that two producers at once learn of each other when messages are lost already; and a file of a lower\n\
             directory is copied at its first opening for writing: use /dev/shm or a volume",
        ),
        Storage { copies_on_write: true, .. } => advice(
            WHAT,
            found,
            "a ring's pages are written in their place, which no longer holds after a snapshot or a reflink;\n\
             then a full filesystem fails the producer: use /dev/shm, ext4 or xfs",
        ),
        Storage { is_memory: true, available: None, .. } => advice(
            WHAT,
            found,
            "memory without a limit: rings there can take all that the machine has; use a tmpfs, such as /dev/shm",
        ),
        Storage { is_memory: true, .. } => ok(WHAT, format!("{found}, which is memory")),
        _ => advice(
            WHAT,
            found,
            "rings work there, and survive a reboot as files; writing back may hold the producer up now and then:\n\
             /dev/shm is faster and steadier",
        ),
    })
}

fn space(dir: &Path, storage: Option<&Storage>) -> Result<Finding, Failure> {
    const WHAT: &str = "space";
    let Some(storage) = storage else { return Ok(ok(WHAT, "not looked at: no ring can be there")) };
    let Some(free) = storage.available else {
        return Ok(ok(WHAT, format!("{} does not say how much", storage.filesystem)));
    };
    let stat =
        rustix::fs::statfs(dir).map_err(|error| Failure::error(format!("{}: {error}", dir.display())))?;
    let all = stat.f_blocks.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(0));
    let found = format!("{} free of {}", output::bytes(free), output::bytes(all));
    let remove = "remove what is not needed (slipring ls)";
    let more = match storage.is_memory {
        true => format!("mount -o remount,size=2G {}", mount_point(dir).display()),
        false => "use a larger filesystem".to_owned(),
    };
    Ok(match free {
        free if free < 1 << 20 => problem(WHAT, found, format!("no ring can be made: {remove}, or {more}")),
        free if free < 64 << 20 && storage.is_memory => {
            advice(WHAT, found, format!("containers often have 64 MiB: docker run --shm-size=1g, or {more}"))
        }
        free if free < 64 << 20 => advice(WHAT, found, format!("{remove}, or {more}")),
        _ => ok(WHAT, found),
    })
}

/// The highest directory above this one on the same filesystem.
fn mount_point(dir: &Path) -> PathBuf {
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let device = |dir: &Path| std::fs::metadata(dir).map(|file| file.dev()).ok();
    let own = device(&dir);
    dir.ancestors().take_while(|above| device(above) == own).last().unwrap_or(&dir).to_path_buf()
}

/// A ring in memory counts here.
fn memory_limit(storage: Option<&Storage>) -> Finding {
    const WHAT: &str = "memory limit";
    let Some(left) = storage.and_then(|storage| storage.memory_left) else { return ok(WHAT, "none") };
    let found = format!("{} left of the control group's", output::bytes(left));
    match left {
        left if left < 256 << 20 => advice(
            WHAT,
            found,
            "a ring in /dev/shm is charged to the control group of its creator, as long as the file is there;\n\
             beyond the limit the kernel kills processes, so `create` refuses larger rings: raise the limit",
        ),
        _ => ok(WHAT, found),
    }
}

fn rings(dir: &Path) -> Result<Finding, Failure> {
    const WHAT: &str = "rings";
    let paths = rings_in(dir)?;
    let (mut unsound, mut waiting, mut bytes, mut leftovers) = (Vec::new(), Vec::new(), 0, 0);
    for path in &paths {
        match Ring::open(path) {
            Ok(ring) => {
                bytes += ring.file_len();
                let found = ring.check();
                leftovers += found.iter().filter(|violation| violation.to_be_cleared).count();
                if found.iter().any(|violation| !violation.to_be_cleared) {
                    unsound.push(path.display().to_string());
                }
                if let Some((count, why)) = Facts::of(ring).dead_letters_wait() {
                    waiting.push(format!("{}: {}: {why}", path.display(), stat::wait(count)));
                }
            }
            Err(_) => unsound.push(path.display().to_string()),
        }
    }
    let found = format!("{}, {}", paths.len(), output::bytes(bytes));
    let lock_files: Vec<String> =
        leftover_lock_files(dir).iter().map(|path| path.display().to_string()).collect();
    Ok(match unsound.as_slice() {
        [] if !waiting.is_empty() => problem(
            WHAT,
            format!(
                "{found}; messages that were given up do not reach the dead-letter ring: {}",
                waiting.join("; ")
            ),
            "until they do, their rings fill up: make room there (slipring dead), or mend what is in the way",
        ),
        [] if !lock_files.is_empty() => advice(
            WHAT,
            format!("{found}, all sound; lock files without a ring: {}", lock_files.join(" ")),
            "each belongs beside a ring that was moved, or was removed without it: bring it there, or remove it",
        ),
        [] => ok(WHAT, format!("{found}, all sound{}", check::to_be_cleared(leftovers))),
        names => problem(
            WHAT,
            format!("{found}; not sound: {}", names.join(" ")),
            "slipring check says what is wrong with each, slipring check --repair mends what can be mended",
        ),
    })
}

fn limit(resource: rustix::process::Resource) -> Option<u64> {
    rustix::process::getrlimit(resource).current
}

fn memory_lock() -> Finding {
    const WHAT: &str = "memlock";
    match limit(rustix::process::Resource::Memlock) {
        None => ok(WHAT, "unlimited"),
        Some(bytes) if bytes < 64 << 20 => advice(
            WHAT,
            output::bytes(bytes),
            "no ring larger than this can be locked into memory: ulimit -l, or LimitMEMLOCK= in the unit",
        ),
        Some(bytes) => ok(WHAT, output::bytes(bytes)),
    }
}

fn descriptors() -> Finding {
    const WHAT: &str = "descriptors";
    match limit(rustix::process::Resource::Nofile) {
        None => ok(WHAT, "unlimited"),
        Some(n) if n < 1024 => {
            advice(WHAT, n.to_string(), "every handle on a ring has a descriptor or two: ulimit -n 65536")
        }
        Some(n) => ok(WHAT, n.to_string()),
    }
}

fn cores() -> Finding {
    const WHAT: &str = "cores";
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => advice(
            WHAT,
            "1",
            "who spins here keeps the other side from running: leave every wait at its default, Wait::Park",
        ),
        n => ok(WHAT, n.to_string()),
    }
}
