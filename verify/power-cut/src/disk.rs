//! A filesystem in a file, and its power cuts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Sparse: for the most part it takes no space.
const LEN: u64 = 4 << 30;
/// The log of xfs: so large that a run does not get to its end. On Linux 6.18, each run of 100 and
/// 200 cuts with a log of 64 MiB ended when 58 to 81 cuts had filled it: xfs came back as it had
/// been at the mount before, without what had been synchronised since.
const XFS_LOG: &str = "size=400m";
/// How long an unmount is tried again while the kernel still has files of a killed process.
const PATIENCE: Duration = Duration::from_secs(10);

/// An error that names the missing tool, or the missing right.
pub(crate) fn requirements(filesystems: &[String]) -> Result<(), String> {
    let user = Command::new("id").arg("-u").output().map_err(|error| format!("id: {error}"))?;
    if user.stdout != b"0\n" {
        return Err("it needs root, to mount filesystems".to_owned());
    }
    let makers = filesystems.iter().map(|name| format!("mkfs.{name}"));
    for tool in makers.chain(["unshare", "mount", "umount", "xfs_io"].map(str::to_owned)) {
        if Command::new(&tool).arg("-V").output().is_err() {
            return Err(format!("it needs {tool}"));
        }
    }
    Ok(())
}

/// A filesystem in a file, mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
    is_mounted: bool,
}

impl Disk {
    pub(crate) fn make(filesystem: &str, place: &Path) -> Result<Disk, String> {
        let disk = Disk { image: place.join("disk"), mounted_at: place.join("mnt"), is_mounted: false };
        let made = File::create(&disk.image)
            .and_then(|file| file.set_len(LEN))
            .and_then(|()| std::fs::create_dir(&disk.mounted_at));
        made.map_err(|error| format!("{}: {error}", disk.image.display()))?;
        let mut maker = Command::new(format!("mkfs.{filesystem}"));
        if filesystem == "xfs" {
            maker.args(["-l", XFS_LOG]);
        }
        run(maker.arg("-q").arg(&disk.image))?;
        disk.mount()
    }

    fn mount(mut self) -> Result<Disk, String> {
        self.mount_image()?;
        Ok(self)
    }

    fn mount_image(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.mounted_at]))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Where a journal may be.
    pub(crate) fn directory(&self) -> PathBuf {
        self.mounted_at.join("journal")
    }

    /// From now on nothing more reaches the device, and its own log is not flushed before.
    pub(crate) fn cut(&self) -> Result<(), String> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mounted_at))
    }

    /// As after the power came back. No process has a file of it open.
    pub(crate) fn mount_again(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while let Err(error) = unmount(&self.mounted_at) {
            if start.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.is_mounted = false;
        self.mount_image()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            drop(unmount(&self.mounted_at));
        }
    }
}

fn unmount(path: &Path) -> Result<(), String> {
    run(Command::new("umount").arg(path))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
