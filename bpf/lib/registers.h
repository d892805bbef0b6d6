/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Registers at a probed instruction, and which of them Go's register ABI uses: arguments and
 * results in order, and the goroutine.
 */
#pragma once

#include "kernel.h"

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#define GO_ARG1(regs) ((regs)->ax)
#define GO_ARG2(regs) ((regs)->bx)
#define GO_ARG3(regs) ((regs)->cx)
#define GO_ARG4(regs) ((regs)->di)
#define GO_ARG5(regs) ((regs)->si)
#define GO_ARG7(regs) ((regs)->r9)
#define GO_ARG8(regs) ((regs)->r10)
#define GO_GOROUTINE(regs) ((regs)->r14)

#elif defined(__TARGET_ARCH_arm64)

struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};

struct pt_regs;

#define GO_ARG1(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define GO_ARG2(ctx) (((struct user_pt_regs *)(ctx))->regs[1])
#define GO_ARG3(ctx) (((struct user_pt_regs *)(ctx))->regs[2])
#define GO_ARG4(ctx) (((struct user_pt_regs *)(ctx))->regs[3])
#define GO_ARG5(ctx) (((struct user_pt_regs *)(ctx))->regs[4])
#define GO_ARG7(ctx) (((struct user_pt_regs *)(ctx))->regs[6])
#define GO_ARG8(ctx) (((struct user_pt_regs *)(ctx))->regs[7])
#define GO_GOROUTINE(ctx) (((struct user_pt_regs *)(ctx))->regs[28])

#endif
