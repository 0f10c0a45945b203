//! What `make install` installs, as a project outside the repository sees it.
//!
//! The tree is installed for one prefix below a DESTDIR and then moved, so that anything with a path to where it was
//! built or installed fails here. The outside project is in `tests/install`; its programs are the first examples.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::native::{SONAME, repository, shared_library, succeed};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PREFIX: &str = "/opt/almadia";

/// An installed tree that was moved away from where it was installed.
struct Installed {
    directory: TempDir,
}

impl Installed {
    fn new() -> Self {
        Self::below(PREFIX)
    }

    fn below(prefix: &str) -> Self {
        let directory = tempdir().expect("the temporary directory is writable");
        let stage = directory.path().join("stage");
        succeed(&mut make("install", prefix, &stage));
        let installed = Self { directory };
        fs::rename(stage.join(&prefix[1..]), installed.tree()).expect("the prefix is below DESTDIR");
        fs::remove_dir_all(stage).expect("what is left was ours");
        installed
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("moved")
    }

    fn library(&self) -> PathBuf {
        self.tree().join("lib").join(format!("libalmadia.so.{VERSION}"))
    }

    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.tree().join("lib/pkgconfig"));
        let said = succeed(command.args(arguments).arg("almadia"));
        said.split_whitespace().map(str::to_owned).collect()
    }

    /// Configures the outside project, which asks for `version`.
    fn configure(&self, version: &str) -> Command {
        let project = self.directory.path().join("project");
        fs::create_dir_all(&project).expect("the scratch directory is writable");
        for file in ["tests/install/CMakeLists.txt", "examples/c/hello.c", "examples/cpp/hello.cpp"] {
            let name = Path::new(file).file_name().expect("it is a file");
            fs::copy(repository().join(file), project.join(name)).expect("the project is there");
        }
        let mut command = Command::new("cmake");
        command.arg("-S").arg(project).arg("-B").arg(self.directory.path().join(format!("build-{version}")));
        command.arg(format!("-DCMAKE_PREFIX_PATH={}", self.tree().display()));
        command.arg(format!("-DWANTED={version}"));
        command
    }

    /// Runs a program that prints hello and refers to the library by its SONAME alone.
    fn says_hello(&self, program: &Path) {
        let dynamic = succeed(Command::new("readelf").arg("-dW").arg(program));
        let name = program.file_name().expect("it is a file").to_string_lossy();
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.tree().join("lib"));
        let said = succeed(command.arg(self.directory.path().join(format!("{name}-store"))));

        assert!(dynamic.contains(&format!("Shared library: [{SONAME}]")), "{dynamic}");
        assert_eq!(said, "hello, world\n");
    }
}

/// `make TARGET` of the library that Cargo built with this test, as it would run by itself.
fn make(target: &str, prefix: &str, stage: &Path) -> Command {
    let mut command = Command::new("make");
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    command.arg("-s").arg("-C").arg(repository()).arg(target);
    command.arg(format!("PREFIX={prefix}")).arg(format!("DESTDIR={}", stage.display()));
    command.arg(format!("BUILT={}", shared_library().display()));
    command
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the tree") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort_unstable();
    found
}

#[test]
fn an_outside_project_builds_with_pkg_config_from_a_moved_tree() {
    let installed = Installed::new();
    let flags = installed.pkg_config(&["--cflags", "--libs"]);

    for (compiler, source) in [("cc", "examples/c/hello.c"), ("c++", "examples/cpp/hello.cpp")] {
        let program = installed.directory.path().join(compiler);
        let mut command = Command::new(compiler);
        command.arg(repository().join(source)).args(&flags).arg("-o").arg(&program);
        if compiler == "c++" {
            command.arg("-std=c++17");
        }
        succeed(&mut command);
        installed.says_hello(&program);
    }

    assert_eq!(installed.pkg_config(&["--modversion"]), [VERSION]);
}

#[test]
fn an_outside_project_builds_with_cmake_from_a_moved_tree() {
    let installed = Installed::new();
    let (compatible, _) = VERSION.rsplit_once('.').expect("a version has three parts");

    let said = succeed(&mut installed.configure(compatible));
    let build = installed.directory.path().join(format!("build-{compatible}"));
    succeed(Command::new("cmake").arg("--build").arg(&build));

    assert!(said.contains(&format!("-- almadia {VERSION}\n")), "{said}");
    installed.says_hello(&build.join("hello-c"));
    installed.says_hello(&build.join("hello-cpp"));
}

#[test]
fn cmake_refuses_versions_whose_interface_may_differ() {
    let installed = Installed::new();
    let parts: Vec<u32> = VERSION.split('.').map(|part| part.parse().expect("a number")).collect();
    let [major, minor, patch] = parts[..] else { panic!("a version has three parts") };

    succeed(&mut installed.configure(VERSION));
    for other in [
        format!("{major}.{}", minor + 1),
        format!("{}.{minor}", major + 1),
        format!("{major}.{minor}.{}", patch + 1),
    ] {
        let output = installed.configure(&other).output().expect("cmake is a test need");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("compatible with requested version"), "{said}");
    }
}

#[test]
fn no_installed_file_has_a_path_to_where_it_was_built_or_installed() {
    let installed = Installed::new();
    let built = repository().display().to_string();

    for file in files_below(&installed.tree()) {
        if fs::symlink_metadata(&file).expect("it was listed").is_symlink() {
            let target = fs::read_link(&file).expect("it is a link");
            assert!(target.components().count() == 1, "{} leads to {}", file.display(), target.display());
        } else if file != installed.library() {
            let text = fs::read_to_string(&file).expect("all else is text");
            for place in [built.as_str(), PREFIX, "/tmp/"] {
                assert!(!text.contains(place), "{} names {place}", file.display());
            }
        }
    }
    let dynamic = succeed(Command::new("readelf").arg("-dW").arg(installed.library()));
    assert!(!dynamic.contains("(RPATH)") && !dynamic.contains("(RUNPATH)"), "{dynamic}");
    assert!(dynamic.contains(&format!("soname: [{SONAME}]")), "{dynamic}");
}

#[test]
fn uninstall_removes_every_file_that_install_created() {
    let directory = tempdir().expect("the temporary directory is writable");
    let stage = directory.path().join("stage");
    let neighbour = stage.join("opt/almadia/lib/pkgconfig/neighbour.pc");
    fs::create_dir_all(neighbour.parent().expect("it has one")).expect("writable");
    fs::write(&neighbour, "").expect("writable");

    succeed(&mut make("install", PREFIX, &stage));
    assert_eq!(files_below(&stage).len(), 10);
    succeed(&mut make("uninstall", PREFIX, &stage));

    assert_eq!(files_below(&stage), [neighbour]);
}

/// Blanks in a name, as below a home directory or on a mounted disk.
const BLANK_PREFIX: &str = "/opt/my own almadia";

#[test]
fn a_prefix_with_blanks_is_installed_where_it_says_and_found_there() {
    let directory = tempdir().expect("the temporary directory is writable");
    let stage = directory.path().join("a stage");

    succeed(&mut make("install", BLANK_PREFIX, &stage));

    let files = files_below(&stage);
    assert_eq!(files.len(), 9, "{files:?}");
    assert!(files.iter().all(|file| file.starts_with(stage.join(&BLANK_PREFIX[1..]))), "{files:?}");
    let mut command = Command::new("pkg-config");
    let tree = stage.join(&BLANK_PREFIX[1..]);
    command.env("PKG_CONFIG_PATH", tree.join("lib/pkgconfig")).args(["--cflags", "--libs", "almadia"]);
    let flags = succeed(&mut command);
    let program = directory.path().join("hello");
    let source = repository().join("examples/c/hello.c");
    // As a shell reads the flags; a program that has them from elsewhere has to read them like that too.
    let compile = format!("cc {} {} -o {}", source.display(), flags.trim(), program.display());
    succeed(Command::new("sh").args(["-c", &compile]));
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", tree.join("lib"));
    assert_eq!(succeed(command.arg(directory.path().join("store"))), "hello, world\n");

    succeed(&mut make("uninstall", BLANK_PREFIX, &stage));
    assert_eq!(files_below(&stage), [""; 0].map(PathBuf::from));
}

#[test]
fn cmake_finds_a_package_in_a_directory_with_blanks() {
    let installed = Installed::below(BLANK_PREFIX);
    let spaced = installed.directory.path().join("a moved tree");
    fs::rename(installed.tree(), &spaced).expect("both are in one directory");
    let (compatible, _) = VERSION.rsplit_once('.').expect("a version has three parts");

    let mut command = installed.configure(compatible);
    command.arg(format!("-DCMAKE_PREFIX_PATH={}", spaced.display()));
    succeed(&mut command);
    let build = installed.directory.path().join(format!("build-{compatible}"));
    succeed(Command::new("cmake").arg("--build").arg(&build));

    let mut command = Command::new(build.join("hello-c"));
    command.env("LD_LIBRARY_PATH", spaced.join("lib"));
    assert_eq!(succeed(command.arg(installed.directory.path().join("store"))), "hello, world\n");
}
