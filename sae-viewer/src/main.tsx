import { QueryClientProvider } from '@tanstack/react-query'
import { Tooltip } from 'radix-ui'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Router } from 'wouter'
import { App } from './App'
import { BASE_PATH, SHARED } from './base'
import { queryClient } from './hooks/queryClient'
import { answerFrom } from './interpAPI'
import './index.css'
import { sharedRun } from './share/source'

if (SHARED !== undefined) answerFrom(sharedRun(SHARED))

const root = document.getElementById('root')
if (!root) throw new Error('index.html has no #root')
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <Tooltip.Provider delayDuration={120} skipDelayDuration={400}>
        <Router base={BASE_PATH}>
          <App />
        </Router>
      </Tooltip.Provider>
    </QueryClientProvider>
  </StrictMode>,
)
