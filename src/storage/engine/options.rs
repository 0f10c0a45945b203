//! The configuration of the engine's RocksDB.
//!
//! Owns every option of the database and the reason for its value. What always holds: no write-ahead log, both
//! column families flushed together, checksums and paranoid checks on, nothing printed, no option that lets RocksDB
//! start threads while the database is open. Opening is left to the engine, the threads to [`threads`](super::threads).

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel,
    Options,
};

use super::{META, errors, stall};
use crate::error::Result;

/// The options of the engine that a user may set. The rest follows from how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Memory for blocks, indexes and filters read from disk.
    pub block_cache_bytes: usize,
    /// A memtable of this size is written to disk. Up to two exist at a time.
    pub memtable_bytes: usize,
    /// Table files kept open. Others are opened and closed on demand.
    pub open_files_max: u16,
}

impl Default for EngineOptions {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        // 256 files of 64 MiB are 16 GiB, and leave most of the usual 1,024 descriptors to the program.
        Self { block_cache_bytes: 32 * MIB, memtable_bytes: 32 * MIB, open_files_max: 256 }
    }
}

/// The options of a database and of each column family.
pub(super) struct Tuning {
    pub database: Options,
    pub families: Vec<ColumnFamilyDescriptor>,
}

/// Options of the database.
///
/// # Errors
/// When RocksDB does not know an option, which tests would catch.
pub(super) fn tuning(options: &EngineOptions) -> Result<Tuning> {
    let tables = tables(options);
    let families = vec![
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, data_family(options, &tables)?),
        ColumnFamilyDescriptor::new(META, meta_family(&tables)),
    ];
    Ok(Tuning { database: database(options)?, families })
}

/// Options of table files of data that are written outside of the database.
///
/// # Errors
/// As [`tuning`].
pub(super) fn table_file() -> Result<Options> {
    let mut tables = table_format();
    tables.disable_cache();
    // RocksDB keeps the index and the filter of a table in memory until it is complete. Of a large table with small rows
    // they would take hundreds of megabytes; the parts of a divided filter are made from the keys of one part at a time.
    tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    tables.set_partition_filters(true);
    data_family(&EngineOptions::default(), &tables)
}

fn database(options: &EngineOptions) -> Result<Options> {
    let mut database = by_name()?;
    database.set_atomic_flush(true);
    database.set_paranoid_checks(true);
    // There is one writer, the apply poller: optimizations for concurrent writers only cost it.
    database.set_allow_concurrent_memtable_write(false);
    database.set_enable_write_thread_adaptive_yield(false);
    database.set_enable_pipelined_write(false);
    database.set_unordered_write(false);
    database.set_max_open_files(i32::from(options.open_files_max));
    database.set_max_background_jobs(2); // One flush and one compaction.
    // By default 30 threads start in each opening, to open the first 16 files of each column family.
    database.set_max_file_opening_threads(1);
    // Files that a dropped view kept alive are deleted by a background thread, never by the thread that drops the view.
    database.set_avoid_unnecessary_blocking_io(true);
    // Spreads write-back, so that a raft log sync does not wait for all of a table file.
    database.set_bytes_per_sync(1 << 20);
    stay_quiet(&mut database);
    Ok(database)
}

/// The options for which the binding has no function.
fn by_name() -> Result<Options> {
    let named = [
        // A failed flush is final. By default RocksDB would retry forever while writers wait; the store must learn
        // of the error, because it stops at the first I/O error below it.
        "max_bgerror_resume_count=0",
        // The last reader may close the database on a user's thread, which must not write megabytes there or wait
        // for a full disk.
        "avoid_flush_during_shutdown=true",
    ];
    Options::default().get_options_from_string(named.join(";")).map_err(errors::failed)
}

/// Options for a library in someone else's process: two small log files, no statistics, no periodic dumps.
fn stay_quiet(database: &mut Options) {
    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(2);
    database.set_max_log_file_size(1 << 20);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
}

fn data_family(options: &EngineOptions, tables: &BlockBasedOptions) -> Result<Options> {
    // Every get searches the range deletions of the memtable, and the first one after each sorts them all; those of a
    // table are sorted once. The next write after this many starts a flush.
    let named = "memtable_max_range_deletions=128";
    let mut data = family(Options::default().get_options_from_string(named).map_err(errors::failed)?, tables);
    data.set_write_buffer_size(options.memtable_bytes);
    // No filter over the keys in memory, until conditions look for keys (`Latest`): it takes a third off a get of a key
    // that is only in a table while the memtable is full, and adds 8 % to what applying a write costs, on every member.
    // LZ4 down to the last level, where nearly all data is: with Zstd there a store is an eighth smaller, but a
    // get from disk costs 1.7 times the CPU.
    data.set_compression_type(DBCompressionType::Lz4);
    data.set_level_compaction_dynamic_level_bytes(true);
    // Filters in the last level too, though it holds nine tenths of the keys. Of a key that is not there a condition and
    // a get else read a block: a put_if_absent cost 1.45 times as much. In return a get among 10 million keys, whose
    // filters take a third of the default cache, costs 9 % more.
    data.set_optimize_filters_for_hits(false);
    Ok(data)
}

/// What makes the next memtables of the data have a filter, of about as many bits a key as tables have.
pub(super) const MEMTABLE_FILTER: [(&str, &str); 2] =
    [("memtable_whole_key_filtering", "true"), ("memtable_prefix_bloom_size_ratio", "0.03")];

/// Holds two small keys per region; its memtable is flushed together with the data's, hardly ever because it is full.
fn meta_family(tables: &BlockBasedOptions) -> Options {
    let mut meta = family(Options::default(), tables);
    meta.set_write_buffer_size(8 << 20);
    meta
}

fn family(mut family: Options, tables: &BlockBasedOptions) -> Options {
    family.set_block_based_table_factory(tables);
    family.set_max_write_buffer_number(2);
    family.set_level_zero_slowdown_writes_trigger(stall::SLOWDOWN_TABLES);
    family
}

fn tables(options: &EngineOptions) -> BlockBasedOptions {
    let mut tables = table_format();
    // Not the LRU cache: it has 64 shards, and the index of a large table, half a MiB or more, would not fit into
    // one of them and would be read from disk by every get.
    tables.set_block_cache(&Cache::new_hyper_clock_cache(options.block_cache_bytes, 0));
    // Indexes and filters are charged to the cache, so that it bounds memory whatever the store's size.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    tables
}

/// What decides the bytes of a table file.
fn table_format() -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_bloom_filter(10.0, false);
    tables.set_format_version(6);
    tables
}
