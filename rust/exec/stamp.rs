//! What tells one state of a file or folder from another without reading it.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The state of a file or folder, as far as the file system tells. Equal stamps mean that nothing was written to a file in
/// between, and that in a folder nothing came, went or got another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    is_file: bool,
    size: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: Inode,
    /// The part of the header where SQLite counts changes, since a program may set all times of a file here.
    #[cfg(not(unix))]
    header: Vec<u8>,
}

/// Which file it is and when it was changed last, in content or attributes. A program may set the time of modification to
/// what it likes, but not this one.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
    changed: (i64, i64),
}

/// How long changes may share one time: kernels stamp files at their clock's ticks, and file systems that keep no fraction of
/// a second stamp them by the second.
const TICK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

impl Stamp {
    /// The state of what is about to be read. What has just been changed could be changed again without a trace, so this waits
    /// until that would show.
    pub fn settled(path: &Path) -> io::Result<Self> {
        let (stamp, found) = Self::read(path)?;
        let Some(wait) = unsettled(&found) else { return Ok(stamp) };
        std::thread::sleep(wait);
        Self::now(path)
    }

    /// The state at this moment.
    pub fn now(path: &Path) -> io::Result<Self> {
        Ok(Self::read(path)?.0)
    }

    /// Whether it is that of a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    fn read(path: &Path) -> io::Result<(Self, Metadata)> {
        let found = std::fs::metadata(path)?;
        let stamp = Self {
            is_file: found.is_file(),
            size: found.len(),
            modified: found.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                let changed = (found.ctime(), found.ctime_nsec());
                Inode { device: found.dev(), number: found.ino(), changed }
            },
            #[cfg(not(unix))]
            header: {
                use std::io::Read;
                let mut header = Vec::new();
                if found.is_file() {
                    std::fs::File::open(path)?.take(100).read_to_end(&mut header)?;
                }
                header
            },
        };
        Ok((stamp, found))
    }
}

/// How long until a further change of the file would have another time than the latest; `None` if it has already.
fn unsettled(found: &Metadata) -> Option<Duration> {
    let (changed, fraction) = last_change(found)?;
    let age = SystemTime::now().duration_since(changed).ok()?;
    (if fraction == 0 { SECOND } else { TICK }).checked_sub(age).filter(|wait| !wait.is_zero())
}

/// When a file was changed last, and the fraction of a second in that, in nanoseconds.
fn last_change(found: &Metadata) -> Option<(SystemTime, u32)> {
    #[cfg(unix)]
    let since = {
        use std::os::unix::fs::MetadataExt;
        Duration::new(u64::try_from(found.ctime()).ok()?, u32::try_from(found.ctime_nsec()).ok()?)
    };
    #[cfg(not(unix))]
    let since = found.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((SystemTime::UNIX_EPOCH + since, since.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_whatever_is_done_to_hide_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"one").unwrap();
        let before = Stamp::settled(&path).unwrap();
        assert_eq!(Stamp::settled(&path).unwrap(), before);
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        // Written in place, to the same size, with the time set back.
        std::fs::write(&path, b"two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        #[cfg(unix)]
        assert_ne!(Stamp::now(&path).unwrap(), before);
        // Another file under the name.
        let other = folder.path().join("y");
        std::fs::write(&other, b"one").unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&other, &path).unwrap();
        #[cfg(unix)]
        assert_ne!(Stamp::now(&path).unwrap(), before);
        std::fs::write(&path, b"three").unwrap();
        assert_ne!(Stamp::now(&path).unwrap(), before);
    }

    #[test]
    fn changes_in_one_tick_of_the_clock_have_stamps_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"0").unwrap();
        for text in ["1", "2", "3", "4", "5"] {
            let before = Stamp::settled(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            assert_ne!(Stamp::now(&path).unwrap(), before);
        }
    }

    #[test]
    fn what_comes_and_goes_in_a_folder_shows() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let changes: [&dyn Fn() -> io::Result<()>; 4] = [
            &|| std::fs::write(&one, b"x"),
            &|| std::fs::rename(&one, &two),
            &|| std::fs::write(&one, b"x").and_then(|()| std::fs::rename(&one, &two)),
            &|| std::fs::remove_file(&two),
        ];
        for change in changes {
            let before = Stamp::settled(folder.path()).unwrap();
            assert_eq!(Stamp::now(folder.path()).unwrap(), before);
            change().unwrap();
            assert_ne!(Stamp::now(folder.path()).unwrap(), before);
        }
        assert!(!Stamp::now(folder.path()).unwrap().is_file());
        assert!(Stamp::now(&folder.path().join("absent")).is_err());
    }
}
