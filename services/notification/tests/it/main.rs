//! Tests of the notification service over real sockets.
