"""How layers run on GPUs: plain kernels, variants, and the pieces that they are made of.

Convolution and dense layers without tensor cores
    gemm_block_tile     block tile of 32 x 32 in shared memory, 4 x 4 sums a thread
    conv_tiled, conv_transpose_tiled, dense_tiled, local_tiled
                        the plain kernels of conv, conv_transpose, dense and local
    depthwise           convolution with a filter for each channel: a thread an element
    fma_block_tile      block tiles of the kernels for tensor cores (below) whose threads multiply and add in float32
    column_sums         reductions of biases' gradients and of split batches
Convolution and dense layers on tensor cores
    implicit_gemm       the sizes by which kernels find the elements of matrices that are never laid out
    mma_block_tile      block tiles, main loop over stages in shared memory (cp.async, mma.sync), cost model
    mma_operand_copies  global to shared memory
    mma_kernels         forward and both gradients, for a precision and block tile
    mma_variants        variants ``tf32_128x64`` and so on, ``float32_...`` of fma_block_tile and ``bf16_stored_...``,
                        which read bfloat16 from memory, among them
    cards               figures of GPUs, by which the latter are ranked
    dense_split_k       variants ``..._split``: split-K for few rows
    wgmma_block_tile, wgmma_kernels, conv_wgmma
                        variants ``tf32_wgmma_...``: Hopper's own matrix instruction
Others, variant ``vector``: 128-bit accesses
    float4              threads that have four channels of a pixel each
    pool_plain, pool_float4
                        pooling: an element a thread, a float4 a thread
    lrn_shuffle         normalisation across channels, neighbours by warp shuffles
    lrn_within_float4   normalisation within channels
    response_power      the powers of both
    softmax_plain, softmax_float4
                        softmax and cross-entropy: a warp a row, a block a row
    concat_float4       concatenation
"""
