//! The file of the operators' socket: made for the gateway's own account alone, found again after a crash, and gone at
//! the end.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tracing::warn;

/// A listening socket and its file, which goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file, so that at the end nobody else's is removed.
    inode: u64,
    owner: u32,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// Its operators would speak to either of the two.
    #[error("another gateway answers at {}; stop that one, or give each a state.directory of its own", .0.display())]
    InUse(PathBuf),
    /// It is nobody's to remove.
    #[error("{} is there and is no socket; move it away", .0.display())]
    NoSocket(PathBuf),
    /// The world is in the way.
    #[error("the control socket {} cannot be opened: {reason}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl ControlSocket {
    /// Opens the socket at `path`, whose directory is made if it is not there. There is none, and a warning, where
    /// others could put a socket of theirs in its place.
    pub fn open(path: &Path) -> Result<Option<Self>, CannotOpen> {
        let failed = |error: io::Error| CannotOpen::Failed {
            path: path.to_owned(),
            reason: reason(&error),
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        refuse_what_is_not_stale(path, failed)?;
        // Under another name until nobody else may open it; the renaming replaces a stale one.
        let unfinished = path.with_extension("sock.new");
        remove(&unfinished).map_err(failed)?;
        let listener = UnixListener::bind(&unfinished).map_err(failed)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600)).map_err(failed)?;
        let file = fs::symlink_metadata(&unfinished).map_err(failed)?;
        let directory_is = fs::metadata(directory).map_err(failed)?;
        if others_may_write(&directory_is, file.uid()) {
            warn!(
                directory = %directory.display(),
                "others may write into the state directory, so there is no control socket: give the gateway a folder of its own, with mode 0700"
            );
            remove(&unfinished).map_err(failed)?;
            return Ok(None);
        }
        fs::rename(&unfinished, path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Self {
            listener,
            path: path.to_owned(),
            inode: file.ino(),
            owner: file.uid(),
        }))
    }

    /// To accept connections with; not blocking.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// The account that the gateway runs as.
    pub const fn owner(&self) -> u32 {
        self.owner
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_own {
            // What remains is stale, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn refuse_what_is_not_stale(path: &Path, failed: impl Fn(io::Error) -> CannotOpen) -> Result<(), CannotOpen> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => Err(CannotOpen::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(CannotOpen::InUse(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(failed(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// With the sticky bit, as in `/tmp`, others may write but take nothing away.
fn others_may_write(directory: &Metadata, own: u32) -> bool {
    let mode = directory.permissions().mode();
    let is_anybodys = mode & 0o022 != 0 && mode & 0o1000 == 0;
    is_anybodys || !matches!(directory.uid(), uid if uid == own || uid == 0)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn reason(error: &io::Error) -> String {
    if error.kind() == ErrorKind::InvalidInput {
        return format!(
            "{error}; the path of a socket has at most about 100 bytes, so write a shorter state.directory"
        );
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "control.sock";

    fn open(path: &Path) -> ControlSocket {
        ControlSocket::open(path).unwrap().expect("there is one")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_for_its_own_account_alone_and_goes_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join(FILE);
        let socket = open(&path);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_one_is_replaced_and_one_that_answers_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        // Its process is gone, its file is not.
        drop(UnixListener::bind(&path).unwrap());
        let socket = open(&path);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(matches!(ControlSocket::open(&path), Err(CannotOpen::InUse(_))));
        assert!(UnixStream::connect(&path).is_ok(), "it is still the first one's");
        drop(socket);
    }

    #[test]
    fn what_is_no_socket_and_what_others_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "a note").unwrap();
        assert!(matches!(ControlSocket::open(&path), Err(CannotOpen::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a note");
        fs::remove_file(&path).unwrap();
        let socket = open(&path);
        fs::remove_file(&path).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(theirs);
    }

    #[test]
    fn where_others_may_write_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for (bits, is_there) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            let directory = folder.path().join(format!("{bits:o}"));
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(bits)).unwrap();
            let path = directory.join(FILE);
            assert_eq!(
                ControlSocket::open(&path).unwrap().is_some(),
                is_there,
                "{bits:o}"
            );
            let left = fs::read_dir(&directory).unwrap().count();
            assert_eq!(left, 0, "{bits:o}: nothing is left behind");
        }
    }

    #[test]
    fn a_path_that_is_too_long_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(120)).join(FILE);
        let error = ControlSocket::open(&path).unwrap_err();
        assert!(error.to_string().contains("shorter state.directory"), "{error}");
    }
}
