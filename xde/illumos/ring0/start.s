/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* From what the machine starts with (32 bits, no paging, see Xen's PVH boot ABI) to code of 64 bits in the last 2 GiB,
   without floating point and vector registers; and the way into and out of traps. */

	.set HIGH, 0xffffffff80000000

	.section .note.Xen,"a",@note
	.balign 4
	.long 4, 8, 18				/* XEN_ELFNOTE_PHYS32_ENTRY */
	.string "Xen"
	.quad start32

	.section .boot,"awx",@progbits
	.code32
	.globl start32
start32:
	cli
	cld
	mov %ebx,%esi				/* what the machine tells about itself */

	/* The first GiB in pieces of 2 MiB, ... */
	mov $pages,%edi
	mov $0x83,%eax				/* present, writable, large */
	mov $512,%ecx
1:	mov %eax,(%edi)
	add $0x200000,%eax
	add $8,%edi
	loop 1b
	/* ... where it is, until the kernel has begun; in the last 2 GiB; and, as data, at DIRECT. */
	movl $(low + 3),tables
	movl $(low + 3),tables + 8 * 384
	movl $0x80000000,tables + 8 * 384 + 4	/* not executed */
	movl $(high + 3),tables + 8 * 511
	movl $(pages + 3),low
	movl $(pages + 3),high + 8 * 510

	mov $0x20,%eax				/* CR4: PAE alone. Without OSFXSR, vector instructions trap. */
	mov %eax,%cr4
	mov $tables,%eax
	mov %eax,%cr3
	mov $0xc0000080,%ecx			/* EFER: long mode, not-executed pages */
	rdmsr
	or $0x900,%eax
	wrmsr
	mov $0x80010035,%eax			/* CR0: PG, WP, NE, ET, EM, PE. With EM, floating point traps. */
	mov %eax,%cr0
	lgdt descriptor
	ljmp $8,$start64

	.code64
start64:
	mov $0x10,%eax
	mov %eax,%ds
	mov %eax,%es
	mov %eax,%ss
	xor %eax,%eax
	mov %eax,%fs
	mov %eax,%gs
	mov $first_stack_end,%rsp
	mov %esi,%edi
	xor %ebp,%ebp
	movabs $kernel_main,%rax
	call *%rax
	ud2

	.balign 8
descriptor:
	.word 23
	.long segments
	.balign 8
segments:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff

	.balign 4096
	.globl tables
tables:	.zero 4096
low:	.zero 4096
high:	.zero 4096
pages:	.zero 4096

	.bss
	.balign 16
	.zero 16384
first_stack_end:

	/* A trap pushes its number and all registers onto the running stack, and goes on with whatever frame the handler
	   answers: that is how threads change. */
	.text
	.balign 16
	.globl vectors
vectors:
	.set number, 0
	.rept 129
	.balign 16
	.if (number == 8) || (number >= 10 && number <= 14) || number == 17 || number == 21 || number == 29 || number == 30
	.else
	push $0
	.endif
	push $number
	jmp enter
	.set number, number + 1
	.endr

enter:
	push %rax
	push %rbx
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %rbp
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp,%rdi
	xor %ebp,%ebp
	call trap
	mov %rax,%rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rbp
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rbx
	pop %rax
	add $16,%rsp
	iretq

	.section .note.GNU-stack,"",@progbits
