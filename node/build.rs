//! Hands the linker what a Node addon needs on each platform.

fn main() {
    napi_build::setup();
    // Node closes an addon that only workers loaded with the last of them, whose thread ends later: that still runs code of
    // this library.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
