//! Conditions see what the engine has after the last batch.

use rocksdb::properties::NUM_ENTRIES_ACTIVE_MEM_TABLE;

use super::{Place, put, write};
use crate::core::stored::Stored;

#[test]
fn a_memtable_without_a_filter_is_replaced_as_soon_as_it_can_be() {
    const LOOKS: usize = 1000;
    let place = Place::new();
    let engine = place.engine();
    let database = &engine.database;
    let in_memory = || {
        let entries = database.db.property_int_value(NUM_ENTRIES_ACTIVE_MEM_TABLE);
        entries.expect("a healthy disk").expect("RocksDB knows it")
    };
    let look = || (0..LOOKS).for_each(|_| _ = engine.latest().version_of(b"k").expect("a healthy disk"));
    let compact_by_itself = |is_on: &str| {
        let options = [("disable_auto_compactions", is_on)];
        database.db.set_options_cf(database.data(), &options).expect("RocksDB knows it");
    };
    // One table more, and RocksDB would slow writes down.
    compact_by_itself("true");
    for index in 6..25 {
        write(&engine, index, &[put(b"k", b"")]);
        engine.flush().expect("a healthy disk");
    }
    write(&engine, 25, &[put(b"k", b"")]);

    look();
    let (busy, _) = (in_memory(), compact_by_itself("false"));
    database.db.compact_range::<&[u8], &[u8]>(None, None);
    write(&engine, 26, &[put(b"k", b"")]);
    look();
    let replaced = in_memory();
    write(&engine, 27, &[put(b"k", b"")]);
    look();

    assert_eq!((busy, replaced, in_memory()), (1, 0, 1));
}
