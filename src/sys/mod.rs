//! The host kernel, as safe functions: the only floor with `unsafe`. No policy lives here.
