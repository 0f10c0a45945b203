//! C and C++ programs as tests: finding the library, compiling programs against it and running them.
//!
//! What always holds: a program that exceeds its deadline is killed and fails its test; scratch directories are
//! removed after the test. What was compiled before, from the same sources and headers by the same compiler, is taken from
//! ccache, whose files lie in the build directory.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The name in the build directory, the one programs are linked with, and the one they load at run time.
const BUILT: &str = "libalmadia_c.so";
pub const LIBRARY: &str = "libalmadia.so";
pub const SONAME: &str =
    concat!("libalmadia.so.", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// How a C program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As a user would.
    Plain,
    /// With AddressSanitizer, which also finds what the program or the library never freed.
    Address,
    /// With ThreadSanitizer, which sees the library only through its use of locks.
    Thread,
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library that Cargo built together with this test binary, beside it.
pub fn shared_library() -> PathBuf {
    let itself = std::env::current_exe().expect("the test binary exists");
    let library = itself.parent().expect("it is in a directory").join(BUILT);
    assert!(library.exists(), "{} is built with the tests", library.display());
    library
}

/// Links the library into `directory` under the names programs are linked with and load.
pub fn link_library(directory: &Path) {
    for name in [LIBRARY, SONAME] {
        let link = directory.join(name);
        if !link.exists() {
            symlink(shared_library(), link).expect("the scratch directory is writable");
        }
    }
}

/// Compiles `source`, a path below the repository, against the library and returns the program.
pub fn compile(source: &str, build: Build, directory: &Path) -> PathBuf {
    compile_with(source, build, directory, &["-lalmadia"])
}

/// Like [`compile`], against these libraries in this order.
pub fn compile_with(source: &str, build: Build, directory: &Path, libraries: &[&str]) -> PathBuf {
    link_library(directory);
    let (search, find) =
        (format!("-L{}", directory.display()), format!("-Wl,-rpath,{}", directory.display()));
    let link = [&[&search[..]], libraries, &["-lpthread", &find]].concat();
    compile_and_link(source, build, directory, &link)
}

/// Compiles a program that loads the library by itself.
pub fn compile_unlinked(source: &str, build: Build, directory: &Path) -> PathBuf {
    compile_and_link(source, build, directory, &["-ldl", "-lpthread"])
}

fn compile_and_link(source: &str, build: Build, directory: &Path, link: &[&str]) -> PathBuf {
    let program = directory.join(format!("{}-{build:?}", source.replace('/', "-")));
    let compiler = || compiler(source, build);
    let object = compile_object(&compiler(), &repository().join(source), &program.with_extension("o"));
    succeed(compiler().arg(object).arg("-o").arg(&program).args(link));
    program
}

/// Compiles one source, by a compiler with its flags.
pub fn compile_object(compiler: &Command, source: &Path, object: &Path) -> PathBuf {
    succeed(cached(compiler).arg("-c").arg(source).arg("-o").arg(object));
    object.to_owned()
}

/// The compiler with its flags through ccache. Paths below the repository count from there, so that a fresh clone finds
/// what another has compiled.
pub fn cached(compiler: &Command) -> Command {
    let mut cached = Command::new("ccache");
    cached.arg(compiler.get_program()).args(compiler.get_args());
    let directory = shared_library().ancestors().nth(3).expect("target/release/deps").join("ccache");
    cached.env("CCACHE_DIR", directory).env("CCACHE_BASEDIR", repository()).env("CCACHE_NOHASHDIR", "1");
    cached
}

/// The compiler, with the flags of every program.
fn compiler(source: &str, build: Build) -> Command {
    let mut command = Command::new("cc");
    command.args([
        "-std=c99",
        "-D_POSIX_C_SOURCE=200809L",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-g",
        "-O1",
    ]);
    let sanitizer = match build {
        Build::Plain => None,
        Build::Address => Some("-fsanitize=address"),
        Build::Thread => Some("-fsanitize=thread"),
    };
    command.args(sanitizer).arg("-fno-omit-frame-pointer");
    command.arg("-I").arg(headers_of(source));
    command
}

/// The directory with the header that a program is compiled with: its own, if one is kept beside the program.
fn headers_of(source: &str) -> PathBuf {
    let source = repository().join(source);
    let own = source.parent().filter(|directory| directory.join("almadia.h").exists());
    own.map_or_else(|| repository().join("include"), Path::to_owned)
}

/// Runs a command with a deadline and fails the test unless it exits with 0; returns its output.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Like [`succeed`], for a command that must not write to stderr.
pub fn succeed_silently(command: &mut Command) {
    let output = run(command);
    let errors = text(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {}\n{errors}", output.status);
}

/// Seconds after which a command is considered hung. Under load a thousand rounds take more than five minutes, and so
/// do a hundred under valgrind.
const PATIENCE_S: &str = "1800";

/// Runs a command; one that hangs is killed.
fn run(command: &Command) -> Output {
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=5", PATIENCE_S]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    limited.output().expect("timeout is part of coreutils")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
