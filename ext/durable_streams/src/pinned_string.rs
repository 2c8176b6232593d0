//! The bytes of large Strings, sent from where Ruby has them: a copy of a megabyte costs as much as all else that is done
//! for its request.

use std::sync::OnceLock;

use bytes::Bytes;
use durable_streams_client::fork::ProcessBound;
use magnus::RString;

use crate::handles::WorkHandle;

/// Shorter Strings (bytes) are copied: that costs less than to keep them.
const LEAST: usize = 256 * 1024;

/// A frozen String and where its bytes are.
struct PinnedString {
    bytes: *const [u8],
    /// Keeps the String alive and where it is.
    _string: WorkHandle,
}

// SAFETY: the bytes of a frozen String do not change and are only read; as long as it is held, the GC neither frees nor moves
// them. To drop this touches nothing of Ruby: any thread may, with or without the GVL.
unsafe impl Send for PinnedString {}

impl AsRef<[u8]> for PinnedString {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { &*self.bytes }
    }
}

/// The bytes of `string` as they are now; it may change afterwards: it shares its memory with a frozen copy until then, as
/// Ruby's own copies do. `None` if it is to be copied.
pub(crate) fn pin(string: RString) -> Option<Bytes> {
    if string.len() < LEAST || frees_at_exit() {
        return None;
    }
    let string = RString::new_frozen(string);
    let here = ProcessBound::new(());
    let handle = WorkHandle::new(string);
    // A forked child sends nothing of its parent's.
    handle.keep_alive_while(move || here.get().is_some());
    // SAFETY: with the GVL, which `RString` stands for. The String is held from here on.
    let bytes = unsafe { string.as_slice() };
    Some(Bytes::from_owner(PinnedString { bytes, _string: handle }))
}

/// Whether Ruby frees Strings when the process ends, while other threads still run: for those who look for leaks.
fn frees_at_exit() -> bool {
    static FREES: OnceLock<bool> = OnceLock::new();
    *FREES.get_or_init(|| std::env::var_os("RUBY_FREE_AT_EXIT").is_some())
}
