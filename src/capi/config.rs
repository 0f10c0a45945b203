//! `almadia_config`: options by name and value.
//!
//! Owns the C view of the option table. What always holds: a program learns at its first call, and not by a
//! crash, that it was compiled against another ABI.

use std::ffi::{CString, c_char, c_void};
use std::sync::LazyLock;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::{Buffer, text, to_c_text};
use super::extensible::{self, Extensible};
use super::handle::{Boxed, HandleSlot, exclusive, shared, taken};
use super::library::ALMADIA_ABI_VERSION;
use crate::config::{Config, OPTIONS, OptionKind, OptionRow};
use crate::error::{Code, Error, Result};

/// The options of a store that is still to be opened. One thread at a time may use it.
pub struct almadia_config {
    pub(super) config: Config,
}

impl Boxed for almadia_config {}

/// One option, as almadia_config_option_at describes it. Begin with ALMADIA_OPTION_INIT. All texts are static.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_option {
    /// sizeof(almadia_option).
    pub struct_size: usize,
    /// The name that almadia_config_set takes.
    pub name: *const c_char,
    /// The values that it takes: "text", "true or false", or a range such as "5 to 10000".
    pub type_text: *const c_char,
    /// The value that it has unless it is set.
    pub default_value: *const c_char,
    /// What it does, and its unit.
    pub doc: *const c_char,
}

// SAFETY: repr(C), begins with struct_size, and NULL is a valid pointer value.
unsafe impl Extensible for almadia_option {
    const NAME: &'static str = "option";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// One row of the option table, for C.
struct OptionText {
    name: CString,
    type_text: CString,
    default_value: CString,
    doc: CString,
}

static OPTION_TEXTS: LazyLock<Vec<OptionText>> = LazyLock::new(|| OPTIONS.iter().map(option_text).collect());

fn option_text(row: &OptionRow) -> OptionText {
    let type_text = match row.kind {
        OptionKind::Text => "text".to_owned(),
        OptionKind::Switch => "true or false".to_owned(),
        OptionKind::Number(least, most) => format!("{least} to {most}"),
    };
    OptionText {
        name: to_c_text(row.name),
        type_text: to_c_text(&type_text),
        default_value: to_c_text(row.default),
        doc: to_c_text(row.doc),
    }
}

impl OptionText {
    fn lend(&self) -> almadia_option {
        almadia_option {
            struct_size: size_of::<almadia_option>(),
            name: self.name.as_ptr(),
            type_text: self.type_text.as_ptr(),
            default_value: self.default_value.as_ptr(),
            doc: self.doc.as_ptr(),
        }
    }
}

/// Makes a configuration in which every option has its default: a cluster of this member alone. Pass
/// ALMADIA_ABI_VERSION as `abi_version`, so that the library can refuse a program that was compiled against an
/// incompatible header.
///
/// `config` receives the handle; free it with almadia_config_free. Blocks: no. Threads: any. Codes:
/// ALMADIA_ABI_MISMATCH.
///
/// # Safety
/// `config` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_config_new(
    abi_version: u32,
    config: *mut *mut almadia_config,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `config` is NULL or writable.
        let slot = unsafe { HandleSlot::new(config, "config") }?;
        check_abi(abi_version)?;
        slot.put(almadia_config { config: Config::default() });
        Ok(ALMADIA_OK)
    })
}

fn check_abi(theirs: u32) -> Result<()> {
    if theirs == ALMADIA_ABI_VERSION {
        return Ok(());
    }
    let detail =
        format!("the program has ABI {theirs}, the library ABI {ALMADIA_ABI_VERSION}; compile it again");
    Err(Error::with_detail(Code::AbiMismatch, detail))
}

/// Sets one option. Both strings are UTF-8 and are copied. almadia_config_option_at lists all options.
///
/// A value is checked here as far as that is possible without the other options; whether they agree is checked when a
/// store is opened.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_INVALID_CONFIG (an unknown option, or a value that is malformed
/// or out of range: the message names the option and shows the right form), ALMADIA_INVALID_ARGUMENT (not UTF-8).
///
/// # Safety
/// `config` is NULL or live, and no other call uses it meanwhile; `name` is NULL or ends with a NUL; `value` is NULL
/// or ends with a NUL; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_config_set(
    config: *mut almadia_config,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `config` is NULL or live, and no other call uses it.
        let config = unsafe { exclusive(config, "config") }?;
        // SAFETY: `name` and `value` are NULL or end with a NUL.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        config.config.set(name, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Copies the value of one option into `buffer` as a NUL-terminated string. `length` receives its length without
/// the NUL, also when the call returns ALMADIA_BUFFER_TOO_SMALL. To ask for the length alone, pass a `capacity` of
/// 0; `buffer` may then be NULL.
///
/// Blocks: no. Threads: any number at once while none sets an option. Codes: ALMADIA_INVALID_CONFIG (unknown
/// option), ALMADIA_BUFFER_TOO_SMALL (capacity < length + 1), ALMADIA_INVALID_ARGUMENT (not UTF-8).
///
/// # Safety
/// `config` is NULL or live, and no other call changes it meanwhile; `name` is NULL or ends with a NUL; `buffer` is
/// NULL or points to `capacity` writable bytes; `length` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_config_get(
    config: *const almadia_config,
    name: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `config` is NULL or live.
        let config = unsafe { shared(config, "config") }?;
        // SAFETY: `name` is NULL or ends with a NUL.
        let name = unsafe { text(name, "name") }?;
        // SAFETY: `buffer` is NULL or points to `capacity` readable bytes, `length` is NULL or writable.
        let buffer = unsafe { Buffer::new(buffer.cast::<c_void>(), capacity, length) }?;
        buffer.fill_string(&config.config.get(name)?)?;
        Ok(ALMADIA_OK)
    })
}

/// The number of options.
///
/// Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_config_option_count() -> usize {
    boundary::value(0, || OPTIONS.len())
}

/// Describes the option at `index`, from 0 to almadia_config_option_count() - 1. Begin `option` with
/// ALMADIA_OPTION_INIT. The texts that it receives are static; never free them.
///
/// Blocks: no. Threads: any. Codes: ALMADIA_END (no option has this index), ALMADIA_INVALID_ARGUMENT (struct_size).
///
/// # Safety
/// `option` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_config_option_at(index: usize, option: *mut almadia_option) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        let Some(text) = OPTION_TEXTS.get(index) else { return Ok(Code::End.number()) };
        // SAFETY: `option` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(option, &text.lend()) }?;
        Ok(ALMADIA_OK)
    })
}

/// Frees a configuration. NULL is fine. Stores opened with it are not affected.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `config` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_config_free(config: *mut almadia_config) {
    // SAFETY: `config` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken(config) }));
}
