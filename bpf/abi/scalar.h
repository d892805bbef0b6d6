/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Fixed-width scalars, by the kernel's names: needs no other header. */
#pragma once

typedef signed char __s8;
typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
