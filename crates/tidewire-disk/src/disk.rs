//! The seam to the file system: [`Disk`] is one directory, [`DiskFile`] one file in it.
//!
//! [`RealDisk`] is the operating system's; tests bring a simulated one that loses unsynced bytes,
//! tears writes, runs full and fails to sync. Nothing else in the crate touches a file.

use std::{
    any::Any,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::PathBuf,
    sync::Arc,
};

use crate::error::{Context, StoreError};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, or an existing one emptied, to read and write.
    Create,
}

/// One directory.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory for this process until the guard is dropped or the process ends.
    /// Nothing if somebody else has it.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;

    /// The names of the files in the directory.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open still reads it.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self) -> io::Result<()>;
}

/// One open file.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync + 'static {
    /// Its size in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Reads at an offset: as much as there is, at most the buffer.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it at an offset. After an error any part may have been written.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes the content and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the operating system says. The content is then in an unknown state for good.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the operating system's.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// The directory, made if it is missing.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }
}

/// The file whose lock is the directory's.
const LOCK_FILE: &str = "lock";

impl Disk for RealDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.dir.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(&self.dir)? {
            // A name that is not text is none of ours.
            names.extend(item?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Opening::Read => {}
            Opening::Write => {
                options.write(true);
            }
            Opening::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(self.dir.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        // Elsewhere a directory cannot be opened; its changes are durable with the files'.
        Ok(())
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
            offset += written as u64;
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Fills the buffer from an offset, as far as the file goes; answers how far.
pub(crate) fn read_up_to(
    file: &dyn DiskFile,
    name: &str,
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, StoreError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("read", name),
        }
    }
    Ok(filled)
}

/// Exactly these bytes; a shorter file is damage.
pub(crate) fn read_exact(
    file: &dyn DiskFile,
    name: &str,
    length: usize,
    offset: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut buffer = vec![0; length];
    if read_up_to(file, name, &mut buffer, offset)? < length {
        return Err(StoreError::corrupt(name, offset, "the file ends too early"));
    }
    Ok(buffer)
}

/// A whole small file, or nothing if there is none.
pub(crate) fn read_whole(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match disk.open(name, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.on("open", name)?,
    };
    let length = usize::try_from(file.len().on("measure", name)?)
        .map_err(|_| StoreError::corrupt(name, 0, "the file is too large"))?;
    read_exact(&*file, name, length, 0).map(Some)
}

/// Puts new content under a name, so that a crash leaves the old or the new, whole and durable.
pub(crate) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = format!("{name}{TEMPORARY}");
    let written = (|| {
        let file = disk.open(&temporary, Opening::Create).on("create", &temporary)?;
        file.write_at(bytes, 0).on("write", &temporary)?;
        file.sync().on("sync", &temporary)
    })();
    if let Err(error) = written {
        // Whatever is there makes no difference: the next opening removes it.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, name).on("rename", &temporary)?;
    disk.sync().on("sync the directory of", name)
}

/// How the names of unfinished files end. They are removed when the log opens.
pub(crate) const TEMPORARY: &str = ".tmp";
