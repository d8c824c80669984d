//! Gives the shared library its name for the dynamic linker and keeps it in memory once loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets the version");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmillpond.so.{major}");
    // A thread that ends after dlclose still runs its thread-local destructors, which are code in this library.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
