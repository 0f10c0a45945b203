//! The option `cluster.initial_members`.
//!
//! Owns its form. What always holds: no number and no address occurs twice, and every address has a port that others
//! can dial; a text that is not exactly a list of members is refused, because a cluster of fewer members than its
//! operator meant would acknowledge writes that the others never get. Whether the list names this member is left to
//! [`Config::members`](super::Config::members).

use crate::address::Address;
use crate::types::NodeId;

/// One entry of `cluster.initial_members`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Its number.
    pub(crate) node: NodeId,
    /// Where its peers reach it, as `host:port`. Empty in a cluster of one.
    pub(crate) address: String,
}

/// The members that `text` names, in order of their numbers. Blanks around an entry do not count.
///
/// # Errors
/// What is wrong.
pub(super) fn parse_members(text: &str) -> Result<Vec<Member>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut members =
        text.split(',').map(|entry| parse_member(entry.trim())).collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|(node, _, _)| *node);
    if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("it names node {} twice", twice[0].0));
    }
    for (at, (node, address, text)) in members.iter().enumerate() {
        if let Some((other, ..)) = members[..at].iter().find(|(_, other, _)| other == address) {
            return Err(format!("members {other} and {node} have the same address {text}"));
        }
    }
    Ok(members.into_iter().map(|(node, _, address)| Member { node, address }).collect())
}

fn parse_member(entry: &str) -> Result<(NodeId, Address, String), String> {
    let shown = entry.escape_debug();
    if entry.is_empty() {
        return Err("it has an empty entry; is there a comma too many?".to_owned());
    }
    let (node, address) = entry.split_once('=').ok_or_else(|| format!("'{shown}' has no '='"))?;
    let number = node.parse().ok().filter(|number| (1..u64::MAX).contains(number));
    let node = number.ok_or_else(|| {
        format!("'{}' is no number of a member, which are whole and start at 1", node.escape_debug())
    })?;
    let parsed = Address::parse(address).map_err(|reason| format!("'{shown}': {reason}"))?;
    if parsed.port() == 0 {
        return Err(format!("'{shown}': nobody can dial port 0"));
    }
    Ok((NodeId(node), parsed, address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_and_blanks_around_an_entry_do_not_count() {
        let members = parse_members("10=c:3,\n 2=[fe80::1%eth0]:2, 1=a:1").expect("well formed");

        let found: Vec<_> = members.iter().map(|member| (member.node.get(), &*member.address)).collect();
        assert_eq!(found, [(1, "a:1"), (2, "[fe80::1%eth0]:2"), (10, "c:3")]);
        assert_eq!(parse_members(""), Ok(Vec::new()));
    }

    #[test]
    fn a_list_with_anything_but_commas_between_its_members_is_refused() {
        for text in [
            "1=a:1;2=b:2",
            "1=a:1 2=b:2",
            "1=a:1\n2=b:2",
            "1=a:1\t2=b:2",
            "1=a:1\r\n2=b:2",
            "1=a:1|2=b:2",
            "1=a:1/2=b:2",
            "1=a:1,2=b:2;3=c:3",
            "1=a:1,2=b:2 3=c:3",
            "1=a:1,,2=b:2",
            "1=a:1,",
            ",1=a:1",
            ",",
            " ",
            "\n",
            "1= a:1",
            "1 =a:1",
            "1=a :1",
            "1=a: 1",
            "'1=a:1'",
            "1=a:1\0",
            "1:a=1",
            "1==a:1",
        ] {
            assert!(parse_members(text).is_err(), "{text:?}: {:?}", parse_members(text));
        }
    }

    #[test]
    fn a_member_needs_a_number_and_an_address_of_its_own() {
        let refused = |text: &str| parse_members(text).expect_err("refused");

        for text in ["0=a:1", "x=a:1", "-1=a:1", "=a:1", "18446744073709551615=a:1"] {
            assert!(refused(text).contains("is no number of a member"), "{text}");
        }
        assert!(refused("2=b:0,1=a:1").contains("'2=b:0': nobody can dial port 0"));
        assert!(refused("1=a:1,2=b:2,1=c:3").contains("names node 1 twice"));
        assert!(refused("1=a:1,2=b:2,3=A.:01").contains("members 1 and 3 have the same address A.:01"));
    }
}
