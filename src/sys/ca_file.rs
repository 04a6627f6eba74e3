//! Files of certificate authorities that settings name.

use std::io::Read as _;
use std::path::Path;

/// The longest, in bytes: several times what the whole web's authorities need.
const MAX_BYTES: u64 = 1024 * 1024;

/// The bytes of a file of certificate authorities, PEM; whoever takes them says what is wrong in them.
///
/// # Errors
/// A sentence that names the file, when it cannot be read or is longer than 1 MiB.
pub fn read_ca_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| format!("`ca_file`: {shown} cannot be read: {error}"))?;
    let mut pem = Vec::new();
    let read = file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut pem);
    let read = read.map_err(|error| format!("`ca_file`: {shown} cannot be read: {error}"))?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES) {
        Ok(pem)
    } else {
        Err(format!(
            "`ca_file`: {shown} is longer than {MAX_BYTES} bytes; give it the authorities that are needed alone"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(read_ca_file(&path).unwrap_err().contains("ca.pem cannot be read"));
        let most = vec![b'#'; usize::try_from(MAX_BYTES).unwrap()];
        std::fs::write(&path, &most).unwrap();
        assert_eq!(read_ca_file(&path).unwrap(), most);
        std::fs::write(&path, [most, vec![b'#']].concat()).unwrap();
        assert!(read_ca_file(&path).unwrap_err().contains("longer"));
    }
}
