//! The types that options can have.
//!
//! Owns how a value is read from its text and shown as text. What always holds: a value exists only if its text is right
//! by itself; what is wrong is said together with the right form. Whether values of several options agree is left to
//! [`Config::check`](super::Config::check).

use super::OptionKind;
use super::members::{Member, parse_members};
use crate::address::Address;
use crate::regions::parse_split_keys;

/// A type an option can have.
pub(super) trait OptionValue: Sized {
    /// The value that `text` stands for.
    ///
    /// # Errors
    /// What is wrong, and the right form.
    fn parse(text: &str, kind: OptionKind) -> Result<Self, String>;

    /// The value as text.
    fn show(&self) -> String;
}

impl OptionValue for u64 {
    fn parse(text: &str, kind: OptionKind) -> Result<Self, String> {
        let OptionKind::Number(least, most) = kind else { unreachable!("the table gives numbers a range") };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("expected a whole number from {least} to {most}")),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl OptionValue for bool {
    fn parse(text: &str, _: OptionKind) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".to_owned())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number of bytes that fills whole blocks of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockBytes(pub(crate) u64);

/// The largest block of common disks.
const BLOCK_BYTES: u64 = 4096;

impl OptionValue for BlockBytes {
    fn parse(text: &str, kind: OptionKind) -> Result<Self, String> {
        let expected = |rule: String| format!("{rule} that is a multiple of {BLOCK_BYTES}");
        let bytes = u64::parse(text, kind).map_err(expected)?;
        if bytes.is_multiple_of(BLOCK_BYTES) {
            return Ok(Self(bytes));
        }
        let next = bytes.next_multiple_of(BLOCK_BYTES);
        Err(format!("expected a multiple of {BLOCK_BYTES}, such as {next}"))
    }
    fn show(&self) -> String {
        self.0.show()
    }
}

/// A text, with what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Read<T> {
    text: String,
    meaning: T,
}

impl<T> Read<T> {
    /// What the text stands for.
    pub(crate) fn meaning(&self) -> &T {
        &self.meaning
    }
}

/// What the text of an option can stand for.
pub(super) trait Meaning: Sized {
    /// What `text` stands for.
    ///
    /// # Errors
    /// As [`OptionValue::parse`].
    fn of(text: &str) -> Result<Self, String>;
}

impl<T: Meaning> OptionValue for Read<T> {
    fn parse(text: &str, _: OptionKind) -> Result<Self, String> {
        T::of(text).map(|meaning| Self { text: text.to_owned(), meaning })
    }
    fn show(&self) -> String {
        self.text.clone()
    }
}

/// The name of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterName(pub(crate) String);

/// It goes into a record of the directory, with a length of one byte.
const CLUSTER_NAME_BYTES_MAX: usize = 255;

impl Meaning for ClusterName {
    fn of(text: &str) -> Result<Self, String> {
        match text.len() {
            1..=CLUSTER_NAME_BYTES_MAX => Ok(Self(text.to_owned())),
            bytes => Err(format!("it has {bytes} bytes; expected 1 to {CLUSTER_NAME_BYTES_MAX}")),
        }
    }
}

/// The members of a cluster, in order of their numbers; none for a cluster of one.
#[derive(Clone, Debug)]
pub(crate) struct Members(pub(crate) Vec<Member>);

impl Meaning for Members {
    fn of(text: &str) -> Result<Self, String> {
        let form = "expected all members, separated by commas, such as '1=host:port,2=host:port'";
        parse_members(text).map(Self).map_err(|reason| format!("{reason}; {form}"))
    }
}

/// The keys that split the key space, in order.
#[derive(Clone, Debug)]
pub(crate) struct SplitKeys(pub(crate) Vec<Vec<u8>>);

impl Meaning for SplitKeys {
    fn of(text: &str) -> Result<Self, String> {
        let form = "expected keys separated by commas, such as 'g,n,t', with any byte as %XX";
        parse_split_keys(text).map(Self).map_err(|reason| format!("{reason}; {form}"))
    }
}

/// Where a member asks that joins a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Join(pub(crate) Vec<String>);

impl Meaning for Join {
    fn of(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let form = "expected addresses of members, separated by commas, such as 'host:port,host:port'";
        let address = |part: &str| match Address::parse(part.trim()) {
            Ok(address) if address.port() == 0 => Err(format!("nobody can dial port 0; {form}")),
            Ok(_) => Ok(part.trim().to_owned()),
            Err(reason) => Err(format!("{reason}; {form}")),
        };
        text.split(',').map(address).collect::<Result<_, _>>().map(Self)
    }
}

/// Where a member accepts its peers, if that is not its own address.
#[derive(Clone, Debug)]
pub(crate) struct Listen(pub(crate) Option<String>);

impl Meaning for Listen {
    fn of(text: &str) -> Result<Self, String> {
        let form = "expected an address of this machine as 'host:port', such as '0.0.0.0:7001'";
        if text.is_empty() {
            return Ok(Self(None));
        }
        match Address::parse(text) {
            Ok(address) if address.port() == 0 => Err(format!("nobody could find a port that is 0; {form}")),
            Ok(_) => Ok(Self(Some(text.to_owned()))),
            Err(reason) => Err(format!("{reason}; {form}")),
        }
    }
}
