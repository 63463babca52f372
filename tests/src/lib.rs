//! Tests that need more than one service.
