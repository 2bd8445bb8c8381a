//! Opening what others have left. A pipe would wait for ever for somebody to write to it, and some devices never end, so
//! nothing is read that is no file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    opened(path, options().read(true))
}

/// Opens a file to write behind its end, and creates it if there is none.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    opened(path, options().create(true).append(true))
}

fn opened(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = options.open(path).map_err(|error| {
        // A socket cannot be opened at all, nor a pipe to be written that nobody reads.
        std::fs::metadata(path).and_then(|found| require(&found)).err().filter(is_unusable).unwrap_or(error)
    })?;
    require(&file.metadata()?)?;
    Ok(file)
}

/// Reads a file that has at most so many bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(unusable(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Sees that something is a file. What opens it may still find something else there.
pub(crate) fn require(found: &Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(unusable(format!("it is {}, not a file", kind(found)))) }
}

/// Whether an error is of this module: not that something cannot be read, but that it is not fit to be.
pub(crate) fn is_unusable(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput && error.get_ref().is_some()
}

fn unusable(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

/// What opens without waiting: a pipe that nobody has at its other end would not.
fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has pipes with names"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

fn kind(found: &Metadata) -> &'static str {
    if found.is_dir() {
        return "a directory";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    "a device"
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (at(""), "a directory"),
            ("/dev/full".into(), "a device"),
            ("/dev/zero".into(), "a device"),
        ] {
            let error = open(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {kind}, not a file"), "{}", path.display());
            assert!(is_unusable(&error));
            assert!(is_unusable(&append(&path).unwrap_err()), "{}", path.display());
        }
        assert!(!is_unusable(&open(&at("absent")).unwrap_err()));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 10]);
        assert_eq!(read(&path, 9).unwrap_err().to_string(), "it is larger than 9 bytes");
    }
}
