//! Pinned strings: large Ruby Strings whose bytes are sent without copying. Copying a megabyte costs as much as
//! everything else that is done for its request.

use std::sync::OnceLock;

use bytes::Bytes;
use durable_streams_client::fork::ProcessBound;
use magnus::RString;

use crate::handles::WorkHandle;

/// Shorter Strings (bytes) are copied, which is cheaper than pinning them.
const LEAST: usize = 256 * 1024;

/// A frozen String and the address of its bytes.
struct PinnedString {
    bytes: *const [u8],
    /// Keeps the String alive and unmoved.
    _string: WorkHandle,
}

// SAFETY: the bytes of a frozen String do not change and are only read. While the handle exists, the GC neither frees
// nor moves them. Dropping this does not touch Ruby: any thread may do it, with or without the GVL.
unsafe impl Send for PinnedString {}

impl AsRef<[u8]> for PinnedString {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { &*self.bytes }
    }
}

/// The bytes of `string` as they are now. It may change afterwards: until then it shares its memory with a frozen copy,
/// as Ruby's own copies do. `None` if the bytes have to be copied.
pub(crate) fn pin(string: RString) -> Option<Bytes> {
    if string.len() < LEAST || frees_at_exit() {
        return None;
    }
    let string = RString::new_frozen(string);
    let process = ProcessBound::new(());
    let handle = WorkHandle::new(string);
    // A forked child sends none of its parent's data.
    handle.keep_alive_while(move || process.get().is_some());
    // SAFETY: with the GVL, since there is an `RString`. The handle keeps the String alive and unmoved from here on.
    let bytes = unsafe { string.as_slice() };
    Some(Bytes::from_owner(PinnedString { bytes, _string: handle }))
}

/// Whether Ruby frees Strings when the process ends, while other threads still run. Leak checkers use that.
fn frees_at_exit() -> bool {
    static FREES: OnceLock<bool> = OnceLock::new();
    *FREES.get_or_init(|| std::env::var_os("RUBY_FREE_AT_EXIT").is_some())
}
