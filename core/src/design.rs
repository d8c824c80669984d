//! Explains how the pool works; there is no code here.
