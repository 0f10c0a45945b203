//! The worked examples of the pages on formats, as bytes.
//!
//! Owns how an example is read. What always holds: in a line the bytes come first, as pairs of hexadecimal digits, and
//! an explanation follows behind two blanks or more; `LL BB ... BB` stands for a length and as many bytes. The tests of
//! the formats decode the examples, so that the pages stay true.

/// The examples below `heading`, up to the next heading of its level or a higher one.
pub(crate) fn examples(page: &str, heading: &str) -> Vec<Vec<u8>> {
    let (_, section) = page.split_once(heading).expect("the page has this section");
    let section = section.split("\n## ").next().expect("one part at least");
    section.split("```text\n").skip(1).map(example).collect()
}

fn example(block: &str) -> Vec<u8> {
    let (block, _) = block.split_once("```").expect("a block ends");
    block.lines().flat_map(bytes_of).collect()
}

fn bytes_of(line: &str) -> Vec<u8> {
    let written = line.trim_start().split("  ").next().expect("one part at least");
    let parsed = |byte: &str| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("no byte: {line}"));
    if let Some((head, last)) = written.split_once(" ... ") {
        let head: Vec<_> = head.split(' ').map(parsed).collect();
        let [length, byte] = head[..] else { panic!("a length and a byte: {line}") };
        assert_eq!(parsed(last), byte, "{line}");
        return [vec![length], vec![byte; length.into()]].concat();
    }
    written.split(' ').map(parsed).collect()
}
