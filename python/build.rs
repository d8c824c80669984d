//! Refuses interpreters without a GIL: lease objects and their free list are guarded by it.

fn main() {
    let interpreter = pyo3_build_config::get();
    assert!(
        !interpreter.target_abi().kind().is_free_threaded(),
        "millpond needs the GIL: free-threaded Python {} is not supported, use the ordinary build of that version",
        interpreter.version()
    );
    pyo3_build_config::add_extension_module_link_args();
}
