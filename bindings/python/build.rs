//! Link arguments of the Python module. Python's symbols stay undefined until the interpreter loads it.

#[path = "../rocksdb_guards.rs"]
mod rocksdb_guards;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    rocksdb_guards::pass_to_linker();
}
